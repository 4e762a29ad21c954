"""Parts of the ``predict.py`` of an export: they need torch and the standard library alone."""
