"""Which trial next, and how far to train it."""
