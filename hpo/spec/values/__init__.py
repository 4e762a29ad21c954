"""Values as a study file holds them: their kinds, and what is wrong with them."""
