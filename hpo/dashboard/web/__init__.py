"""Pages of our own: studies, trials, workers, curves and logs, rendered by the server."""
