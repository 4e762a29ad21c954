"""User code by reference: whether it may run, how it is loaded, and settings read from scripts."""
