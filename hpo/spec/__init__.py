"""Study specs: what to optimise, within which budget and by which method, as pure data."""
