"""Checks of a task before its trials: what it reads, what it costs, what is wrong with it."""
