"""One machine's part in a study: the manager, the supervisor, and the processes it starts."""
