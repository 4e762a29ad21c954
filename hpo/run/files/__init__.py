"""Files of a study: artifacts, exported models, and predictions from them."""
