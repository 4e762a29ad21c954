"""Samples for the conformance suite of engines: tasks, data, lanes, and how epochs are compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from hpo.spec.space.params import Params
from hpo.train.data.splits import Part, Splits
from hpo.train.engine import Engine, EpochReport, Lane
from hpo.train.task import Task

RELATIVE: Final = 1e-4
ABSOLUTE: Final = 2e-5

# Each has state of its own that a checkpoint must hold.
RESUMED: Final[dict[str, dict[str, Any]]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05},
    "nesterov": {"optimizer": "nesterov", "learning_rate": 0.05, "schedule": "cosine"},
    "adagrad": {"optimizer": "adagrad", "schedule": "step", "step_size": 2, "gamma": 0.5},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5, "schedule": "exponential"},
    "adam": {"optimizer": "adam", "schedule": "cosine", "warmup_epochs": 2, "grad_clip": 0.5},
    "adamw": {"optimizer": "adamw", "label_smoothing": 0.1, "l1": 1e-4, "batch_size": "full"},
}


class Clusters(Task):
    """A small classification, with what an interruption could lose: batch statistics and dropout.

    Parameters: ``width``, ``dropout``, and ``breaks`` for a model that raises: ``build``, when it
    is built, or ``forward``, when it is called.
    """

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.error = error or ValueError("broken on purpose")

    @override
    def model(self, params: Params) -> nn.Module:
        breaks = params.get("breaks", "")
        if breaks == "build":
            raise self.error
        width = int(params.get("width", 8))
        layers = [nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU()]
        layers += [nn.Dropout(params.get("dropout", 0.0)), nn.Linear(width, 3)]
        return nn.Sequential(*layers, _Raises(self.error) if breaks else nn.Identity())


class Line(Task):
    """A linear regression, which a large learning rate makes diverge within two epochs."""

    @override
    def model(self, params: Params) -> nn.Module:
        return nn.Linear(1, 1)


class _Raises(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    @override
    def forward(self, x: Tensor) -> Tensor:
        raise self.error


def clusters(seed: int = 1) -> Splits:
    """Returns 150 points of a plane around three centres: 90 for training, 30 for each other."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(150) % 3
    angles = y * (2 * torch.pi / 3)
    centres = torch.stack([angles.cos(), angles.sin()], dim=1)
    x = centres + 0.6 * torch.randn(150, 2, generator=generator)
    return Splits(*_parts(x, y, (0, 90, 120, 150)), "classification", ("a", "b", "c"))


def line() -> Splits:
    """Returns 100 points of y = 2x + 1, with noise: 60 for training, 20 for each other."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(100, 1, generator=generator)
    y = (2 * x + 1).squeeze(1) + 0.1 * torch.randn(100, generator=generator)
    return Splits(*_parts(x, y, (0, 60, 80, 100)), "regression")


def _parts(x: Tensor, y: Tensor, bounds: Sequence[int]) -> tuple[Part, Part, Part]:
    first, second, third = (Part(x[a:b], y[a:b]) for a, b in pairwise(bounds))
    return first, second, third


def lane(key: int = 1, seed: int = 7, epoch_stop: int = 6, **values: Any) -> Lane:
    """Returns a lane with some values of params."""
    return Lane(key=key, params=Params(values), seed=seed, epoch=0, epoch_stop=epoch_stop)


def several(n: int) -> list[Lane]:
    """Returns lanes with a seed, a learning rate and a dropout rate of their own each."""
    return [
        lane(key, 7 + key, learning_rate=0.02 * (key + 1), dropout=0.1 * key, batch_size=16)
        for key in range(n)
    ]


def train(engine: Engine, n_epochs: int, keys: Iterable[int]) -> dict[int, list[EpochReport]]:
    """Advances an engine until some lanes have reported so many epochs, or failed.

    One lane may report more epochs than another, because engines may advance lanes in turns.
    """
    found: dict[int, list[EpochReport]] = {key: [] for key in keys}
    while not all(len(r) >= n_epochs or (r and r[-1].failure) for r in found.values()):
        reports = engine.advance()
        assert reports, "the engine reports nothing, though lanes have epochs left"
        for report in reports:
            found.setdefault(report.key, []).append(report)
    return found


def curve(reports: Iterable[EpochReport]) -> list[Any]:
    """Returns what has to be reproducible of some epochs."""
    return [(r.key, r.epoch, dict(r.metrics), r.learning_rate, r.failure) for r in reports]


def assert_close(found: Sequence[EpochReport], expected: Sequence[EpochReport]) -> None:
    """Asserts that epochs are the same but for rounding."""
    assert [(r.epoch, r.failure) for r in found] == [(r.epoch, r.failure) for r in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.learning_rate == other.learning_rate
        close = pytest.approx(dict(other.metrics), rel=RELATIVE, abs=ABSOLUTE)
        assert dict(one.metrics) == close
