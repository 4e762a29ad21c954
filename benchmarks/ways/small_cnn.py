"""The small CNN of benchmarks/five_ways.py: its data, its model, and its bare loop."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = int(os.environ.get("WAYS_EPOCHS", "6"))
REPEATS = int(os.environ.get("WAYS_REPEATS", "4"))
"""The digits stand so many times in the training data, which makes epochs longer."""

BATCH_SIZE = 64
N_TRAIN = 1437


def tensors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns images and classes to train on, and to validate on."""
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    y = torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, val = order[:N_TRAIN].repeat(REPEATS), order[N_TRAIN:]
    return x[train], y[train], x[val], y[val]


def network(width: int) -> nn.Module:
    """Returns two convolutions and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 10),
    )


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """Trains for one epoch."""
    model.train()
    for rows in torch.randperm(len(x)).split(BATCH_SIZE):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Returns the share of images whose class is found."""
    model.eval()
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def train_by_loader(
    model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader[Any]
) -> None:
    """Trains for one epoch on the batches of a loader."""
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def bare(
    width: int, learning_rate: float, momentum: float, seed: int, *, by_loader: bool
) -> tuple[float, float]:
    """Returns the best accuracy of a loop without any tool, and its seconds."""
    x, y, x_val, y_val = tensors()
    torch.manual_seed(seed)
    loader = DataLoader(TensorDataset(x, y), BATCH_SIZE, shuffle=True)
    begin = time.perf_counter()
    model = network(width)
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum)
    best = 0.0
    for _ in range(EPOCHS):
        if by_loader:
            train_by_loader(model, optimizer, loader)
        else:
            train(model, optimizer, x, y)
        best = max(best, accuracy(model, x_val, y_val))
    return best, time.perf_counter() - begin
