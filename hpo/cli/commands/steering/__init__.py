"""Commands that change a study: orders, budgets, names, deletion."""
