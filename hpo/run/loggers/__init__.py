"""Loggers, which copy curves and endings of a study's trials to other programs."""
