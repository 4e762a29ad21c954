"""Data of tasks: arrays, data sets, splits and folds."""
