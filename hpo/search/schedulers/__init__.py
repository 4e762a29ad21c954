"""Schedulers: which trials begin, are resumed, are suspended or stop."""
