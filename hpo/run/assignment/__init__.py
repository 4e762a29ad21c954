"""Assignment: which trials a worker takes on, up to which epoch, and with which params."""
