"""Rows of Optuna's tables and of hpo's own, read and written in the caller's transaction."""
