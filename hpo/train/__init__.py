"""How a trial trains: tasks, data, engines and what they are made of."""
