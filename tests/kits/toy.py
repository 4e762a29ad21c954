"""Small data and tasks for the tests of training."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.data.dataset import Part, Splits
from hpo.train.engine import Lane
from hpo.train.task import Task

torch.set_num_threads(1)


def cut(x: Tensor, y: Tensor, n_train: int, n_val: int) -> tuple[Part, Part, Part]:
    ends = [0, n_train, n_train + n_val, len(y)]
    first, second, third = (Part(x[a:b], y[a:b]) for a, b in pairwise(ends))
    return first, second, third


@cache
def blobs(n: int = 150, n_classes: int = 3) -> Splits:
    """Points of a plane around as many centres as there are classes; 60 % are for training."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(n) % n_classes
    angles = y * (2 * torch.pi / n_classes)
    centres = torch.stack([angles.cos(), angles.sin()], dim=1)
    x = centres + 0.6 * torch.randn(n, 2, generator=generator)
    return Splits(*cut(x, y, n * 3 // 5, n // 5), "classification", tuple("abcdef"[:n_classes]))


@cache
def slopes(n: int = 100) -> Splits:
    """y = 2x + 1 with noise."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 1, generator=generator)
    y = (2 * x + 1).squeeze(1) + 0.1 * torch.randn(n, generator=generator)
    return Splits(*cut(x, y, n * 3 // 5, n // 5), "regression")


@cache
def digits() -> Splits:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(images, dtype=torch.float32)[order] / 16
    y = torch.tensor(labels)[order]
    return Splits(*cut(x, y, 1078, 359), "classification", tuple("0123456789"))


def mlp(params: Params, n_in: int = 2, n_out: int = 3) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(params.get("depth", 1)):
        width = params.get("width", 8)
        layers += [nn.Linear(n_in, width), nn.BatchNorm1d(width), nn.ReLU()]
        layers += [nn.Dropout(params.dropout)]
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, n_out))


class Blobs(Task):
    """Has all that remembers: batch normalisation and dropout."""

    def model(self, params: Params) -> nn.Module:
        return mlp(params)


class Slopes(Task):
    def model(self, params: Params) -> nn.Module:
        return nn.Linear(1, 1)


class Digits(Task):
    def model(self, params: Params) -> nn.Module:
        n_in, layers = 64, []
        for _ in range(params.depth):
            layers += [nn.Linear(n_in, params.width), nn.ReLU()]
            n_in = params.width
        return nn.Sequential(*layers, nn.Linear(n_in, 10))


def lane(seed: int = 7, epoch_stop: int = 6, key: int = 1, **values: Any) -> Lane:
    return Lane(key=key, params=Params(values), seed=seed, epoch=0, epoch_stop=epoch_stop)
