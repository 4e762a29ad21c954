"""What every contestant of ``benchmarks/fused_gpu.py`` trains: data, models and search spaces.

Plain PyTorch and Optuna, so that the peers are what their users would write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

Values = Mapping[str, Any]
Parts = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Problem:
    """A task and its space.

    Attributes:
        data: Returns inputs and targets for training, then for validation.
        build: Returns the model of a point.
        choices: Structural parameters, and the values that they may have.
        epochs: Of a trial.
    """

    data: Callable[[], Parts]
    build: Callable[[Values], nn.Module]
    choices: Mapping[str, list[int]]
    epochs: int


# Of the parameters that all problems have: low, high, whether the scale is logarithmic.
RANGES: Mapping[str, tuple[float, float, bool]] = {
    "learning_rate": (1e-4, 1.0, True),
    "momentum": (0.0, 0.99, False),
    "weight_decay": (1e-6, 1e-1, True),
}


def suggest(problem: Problem, trial: optuna.Trial) -> dict[str, Any]:
    """Returns a point of the space, asked for with Optuna."""
    point: dict[str, Any] = {
        name: trial.suggest_categorical(name, values) for name, values in problem.choices.items()
    }
    for name, (low, high, is_log) in RANGES.items():
        point[name] = trial.suggest_float(name, low, high, log=is_log)
    return point


def study_file(name: str, problem: Problem, engine: str, device_file: str) -> str:
    """Returns the study file of a problem: the same space, sampler and pruner as the peers'."""
    lines = [
        f'name = "{name}"',
        f'task = "{device_file}:{_CLASSES[name]}"',
        'metric = "val_accuracy"',
        'direction = "maximize"',
        f'engine = "{engine}"',
        "[space]",
        'optimizer = "sgd"',
    ]
    lines += [f"{key} = {{ choices = {values} }}" for key, values in problem.choices.items()]
    for key, (low, high, is_log) in RANGES.items():
        lines.append(f"{key} = {{ low = {low}, high = {high}, log = {str(is_log).lower()} }}")
    lines += ["[sampler]", 'name = "tpe"']
    lines += ["[pruner]", 'name = "asha"', "min_resource = 3", "reduction_factor = 3"]
    return "\n".join(lines) + "\n"


def is_small() -> bool:
    """Tells whether this is a dry run: little data, small models."""
    return os.environ.get("FUSED_DRY_RUN") == "1"


def _digits() -> tuple[np.ndarray[Any, Any], ...]:
    x, y = load_digits(return_X_y=True)
    x, _, y, _ = train_test_split(x / 16, y, test_size=0.2, stratify=y, random_state=0)
    found = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    return tuple(found)


def _tensors(
    x: np.ndarray[Any, Any],
    x_val: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
    y_val: np.ndarray[Any, Any],
) -> Parts:
    as_x = [torch.tensor(part.astype(np.float32)) for part in (x, x_val)]
    return as_x[0], torch.tensor(y), as_x[1], torch.tensor(y_val)


def digits() -> Parts:
    """8x8 digits as 64 features."""
    return _tensors(*_digits())


def images() -> Parts:
    """8x8 digits as images [1, 8, 8]."""
    x, x_val, y, y_val = _digits()
    return _tensors(x.reshape(-1, 1, 8, 8), x_val.reshape(-1, 1, 8, 8), y, y_val)


def synthetic() -> Parts:
    """60,000 samples of 784 features in 10 classes, and 10,000 to validate."""
    n, n_val = (600, 100) if is_small() else (60_000, 10_000)
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 784, generator=generator)
    y = torch.randint(10, (n + n_val,), generator=generator)
    # So far apart that a good learning rate shows, and a perfect one is not reached.
    x = 0.1 * centres[y] + torch.randn(n + n_val, 784, generator=generator)
    return x[:n], y[:n], x[n:], y[n:]


def mlp(n_in: int, depth: int, width: int, *, has_bias: bool = False) -> nn.Module:
    """Linear layers with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(n_in, width, bias=has_bias), nn.BatchNorm1d(width), nn.ReLU()]
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, 10))


def cnn(width: int) -> nn.Module:
    """Two convolutions with batch normalisation, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * 16, 10),
    )


_CLASSES = {"digits": "Digits", "synthetic": "Synthetic", "cnn": "Convolution"}
PROBLEMS: Mapping[str, Problem] = {
    "digits": Problem(
        digits,
        lambda p: mlp(64, p["depth"], p["width"]),
        {"batch_size": [32, 64, 128, 256], "depth": [1, 2, 3], "width": [64, 128, 256]},
        27,
    ),
    "synthetic": Problem(
        synthetic,
        lambda p: mlp(784, 2, p["width"]),
        {"batch_size": [128, 256], "width": [512]},
        9,
    ),
    "cnn": Problem(
        images,
        lambda p: cnn(p["width"]),
        {"batch_size": [64, 128], "width": [16, 32]},
        27,
    ),
    # Of studies/digits_mlp.toml, for benchmarks/fused_cpu.py.
    "digits-study": Problem(
        digits,
        lambda p: mlp(64, p["depth"], p["width"], has_bias=True),
        {"batch_size": [32, 64, 128, 256], "depth": [1, 2, 3, 4], "width": [32, 64, 128]},
        27,
    ),
}
