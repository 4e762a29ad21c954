"""Where everything lives: the database, Optuna's storage on it, and the ledger of work."""
