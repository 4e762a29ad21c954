"""Three training loops of PyTorch on small data, as objectives that use ``hpo.Run``.

Each trains for 27 epochs at most, and is run unchanged by hpo and by Optuna.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, make_friedman1
from torch import Tensor, nn

import hpo

EPOCHS: Final = 27
_ACTIVATIONS: Final = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


def digits(trial: optuna.Trial) -> float:
    """A small convolutional network on images of digits, with SGD; returns the cross-entropy."""
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    momentum = trial.suggest_float("momentum", 0.0, 0.99)
    weight_decay = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
    batch_size = trial.suggest_int("batch_size", 32, 256, log=True)
    channels = trial.suggest_int("channels", 4, 24)
    dropout = trial.suggest_float("dropout", 0.0, 0.7)
    run = hpo.Run(trial)
    torch.manual_seed(run.seed)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(8 * channels, 10),
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr, momentum=momentum, weight_decay=weight_decay
    )
    return _trained(run, model, optimizer, nn.CrossEntropyLoss(), _digits(), batch_size)


def tumours(trial: optuna.Trial) -> float:
    """A network on measurements of tumours, with one of two optimizers; returns the log loss."""
    depth = trial.suggest_int("depth", 1, 4)
    widths = [trial.suggest_int(f"width_{i}", 4, 64, log=True) for i in range(depth)]
    dropout = trial.suggest_float("dropout", 0.0, 0.6)
    activation = _ACTIVATIONS[trial.suggest_categorical("activation", list(_ACTIVATIONS))]
    run = hpo.Run(trial)
    torch.manual_seed(run.seed)
    layers: list[nn.Module] = []
    n_in = 30
    for width in widths:
        layers += [nn.Linear(n_in, width), activation(), nn.Dropout(dropout)]
        n_in = width
    model = nn.Sequential(*layers, nn.Linear(n_in, 2))
    weight_decay = trial.suggest_float("weight_decay", 1e-6, 1.0, log=True)
    optimizer: torch.optim.Optimizer
    if trial.suggest_categorical("optimizer", ["sgd", "adamw"]) == "sgd":
        lr = trial.suggest_float("sgd_lr", 1e-4, 1.0, log=True)
        momentum = trial.suggest_float("momentum", 0.0, 0.99)
        optimizer = torch.optim.SGD(
            model.parameters(), lr, momentum=momentum, weight_decay=weight_decay
        )
    else:
        lr = trial.suggest_float("adam_lr", 1e-5, 1e-1, log=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)
    return _trained(run, model, optimizer, nn.CrossEntropyLoss(), _tumours(), 32)


def friedman(trial: optuna.Trial) -> float:
    """A regression of Friedman's function, with Adam; returns the mean squared error."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    beta = trial.suggest_float("beta1", 0.5, 0.99)
    weight_decay = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
    batch_size = trial.suggest_int("batch_size", 16, 256, log=True)
    width = trial.suggest_int("width", 8, 128, log=True)
    depth = trial.suggest_int("depth", 1, 3)
    activation = _ACTIVATIONS[trial.suggest_categorical("activation", list(_ACTIVATIONS))]
    run = hpo.Run(trial)
    torch.manual_seed(run.seed)
    layers: list[nn.Module] = []
    n_in = 10
    for _ in range(depth):
        layers += [nn.Linear(n_in, width), activation()]
        n_in = width
    model = nn.Sequential(*layers, nn.Linear(n_in, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(
        model.parameters(), lr, betas=(beta, 0.999), weight_decay=weight_decay
    )
    return _trained(run, model, optimizer, nn.MSELoss(), _friedman(), batch_size)


LOOPS: Final[dict[str, Callable[[optuna.Trial], float]]] = {
    "digits": digits,
    "tumours": tumours,
    "friedman": friedman,
}

_Data = tuple[Tensor, Tensor, Tensor, Tensor]


def _trained(
    run: hpo.Run,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: nn.Module,
    data: _Data,
    batch_size: int,
) -> float:
    """Trains a model, reports its validation loss after each epoch, and returns the best one."""
    x, y, x_val, y_val = data
    run.restore(model=model, optimizer=optimizer)
    for _ in run.epochs(EPOCHS):
        model.train()
        for batch in torch.randperm(len(x)).split(batch_size):
            optimizer.zero_grad()
            loss(model(x[batch]), y[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            value = float(loss(model(x_val), y_val))
        # A loss that is no number is as bad as any.
        run.report(val_loss=min(value, 1e6) if value == value else 1e6)
    return run.best


@cache
def _digits() -> _Data:
    x, y = load_digits(return_X_y=True)
    return _parts(x / 16, y, 1000)


@cache
def _tumours() -> _Data:
    x, y = load_breast_cancer(return_X_y=True)
    return _parts((x - x.mean(0)) / x.std(0), y, 350)


@cache
def _friedman() -> _Data:
    x, y = make_friedman1(1500, noise=0.5, random_state=0)
    return _parts(x - 0.5, ((y - y.mean()) / y.std()).astype(np.float32), 1000)


def _parts(x: NDArray[np.float64], y: NDArray[np.generic], n_train: int) -> _Data:
    order = np.random.default_rng(0).permutation(len(y))
    xs = torch.tensor(x[order], dtype=torch.float32)
    ys = torch.tensor(y[order])
    return xs[:n_train], ys[:n_train], xs[n_train:], ys[n_train:]
