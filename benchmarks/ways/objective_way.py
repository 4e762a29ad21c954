"""The small CNN as an Optuna objective with hpo.Run."""

from __future__ import annotations

import optuna
import torch
from small_cnn import EPOCHS, accuracy, network, tensors, train

import hpo

x, y, x_val, y_val = tensors()


def objective(trial: optuna.Trial) -> float:
    """Trains the network of a trial."""
    run = hpo.Run(trial)
    torch.manual_seed(run.seed)
    model = network(trial.suggest_categorical("width", [16]))
    learning_rate = trial.suggest_float("learning_rate", 0.05, 0.05)
    momentum = trial.suggest_float("momentum", 0.9, 0.9)
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum)
    run.restore(model=model, optimizer=optimizer)
    for _ in run.epochs(EPOCHS):
        train(model, optimizer, x, y)
        run.report(val_accuracy=accuracy(model, x_val, y_val))
    return run.best
