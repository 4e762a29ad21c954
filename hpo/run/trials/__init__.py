"""Executors: how a worker's trials are chosen, trained, reported and settled."""
