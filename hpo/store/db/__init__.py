"""Database connections, schemas and driver errors: what every other part of the store builds on."""
