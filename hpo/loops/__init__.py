"""Training loops of the user's own: how they report, pause and resume."""
