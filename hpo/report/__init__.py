"""What a study's database says, for people: queries, tables, plots."""
