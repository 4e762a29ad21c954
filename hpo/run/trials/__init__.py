"""Executors: how a worker's trials are trained, reported and settled."""
