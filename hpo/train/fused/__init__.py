"""The stacked engine: many trials train as one."""
