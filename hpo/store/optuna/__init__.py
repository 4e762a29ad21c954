"""Optuna's storage interface on Optuna's own schema, with batched writes and incremental reads."""
