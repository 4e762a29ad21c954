"""Reports on a database's studies: queries, tables, plots."""
