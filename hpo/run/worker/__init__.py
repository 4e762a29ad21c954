"""Worker process: its start, its loop, and the executors that it composes."""
