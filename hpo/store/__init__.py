"""Store: the database, Optuna's storage on it, and the work ledger."""
