"""What to optimise, within which budget, by which method: pure data."""
