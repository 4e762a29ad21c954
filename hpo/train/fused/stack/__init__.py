"""Stack of lanes: its epochs, its evaluation, and the state of each lane."""
