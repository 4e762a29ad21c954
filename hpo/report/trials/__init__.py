"""One trial, its failures and its logs, for the commands and pages that show them."""
