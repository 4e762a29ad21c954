"""Text for people: printable characters, formats of numbers and times, tables."""
