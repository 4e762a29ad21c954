"""Optuna samplers and pruners by name, and the search of one study through them."""
