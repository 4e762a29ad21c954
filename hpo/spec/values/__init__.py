"""Values of a study file: their kinds, and the mistakes found in them."""
