"""The report of a study as one page of HTML or Markdown."""
