"""Admission to stacks: whether a trial can be stacked, with which others, and how many."""
