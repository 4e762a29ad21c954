"""What happens in a database now: running trials, workers, rates, and the time left."""
