"""Losses, metrics and the shapes of outputs."""
