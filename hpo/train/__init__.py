"""Training: tasks, data, engines and their parts."""
