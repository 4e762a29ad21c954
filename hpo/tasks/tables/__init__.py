"""Tables of users: files, columns, encodings and targets."""
