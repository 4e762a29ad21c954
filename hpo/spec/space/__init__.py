"""Search spaces: dimensions, conditions between them, and points of the space."""
