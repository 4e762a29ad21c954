"""Plain data of the search: histories of trials as arrays, encodings, decisions and seeds."""
