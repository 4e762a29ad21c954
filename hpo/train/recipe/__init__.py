"""Training recipes: hyperparameters, optimizers, schedules, augmentation, precision and seeds."""
