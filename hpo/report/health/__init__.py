"""Health of a database and of this machine: what ``hpo doctor`` examines."""
