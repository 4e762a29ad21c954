"""Host: one machine's part in a study: the manager, the supervisor and its processes."""
