"""The commands of ``hpo``, one module each."""
