"""What the callbacks of training frameworks share."""
