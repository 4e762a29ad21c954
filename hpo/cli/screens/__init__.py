"""Screens: displays that fill the terminal and are redrawn, of studies and of databases."""
