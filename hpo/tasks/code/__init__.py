"""User code by reference: what may run here, how it is loaded, and what a script says."""
