"""Scripts: commands that train, each trial in a process of its own."""
