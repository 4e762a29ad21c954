"""Commands of a setup: study files and their checks, databases."""
