"""Search: samplers and schedulers, which choose the next trials and how far they train."""
