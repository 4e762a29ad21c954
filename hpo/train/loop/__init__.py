"""Training loop of one trial, its checkpoints, and the engine that trains trials one by one."""
