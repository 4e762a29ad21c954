"""Database connections, schemas and driver errors, which the rest of the store builds on."""
