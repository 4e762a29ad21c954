"""The command line: parses arguments, makes one call into the library, prints the result."""
