"""Samples in splits: what engines train with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hpo.errors import TaskError
from hpo.train.data.arrays import Kind
from hpo.train.data.batch import Batch


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the samples.

    Attributes:
        x: Features of shape [N, ...], float32, or int64 for indices such as tokens.
        y: Classes of shape [N, ...], int64, or numbers of shape [N] or [N, T], float32.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> Part:
        """Returns the samples in a device's memory."""
        return Part(self.x.to(device), self.y.to(device))

    @property
    def device(self) -> torch.device:
        """Where the samples are."""
        return self.y.device

    def head(self, n: int) -> Batch:
        """Returns the first ``n`` samples."""
        return Batch(self.x[:n], self.y[:n], min(n, len(self)))


@dataclass(frozen=True)
class FittedPreprocessing:
    """Fitted preprocessing, kept in a model's file by ``hpo.train.data.fitted_preprocessing``.

    Attributes:
        own: Of the training rows of these splits: for the features.
        whole: Of the rows of all folds: for the units of the targets.
    """

    own: Mapping[str, Any] | None = None
    whole: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Splits:
    """Data ready to train with.

    Attributes:
        train: What models are fitted on.
        val: What trials are compared on.
        test: What only the best trial sees, if there is a test split.
        kind: Classification or regression.
        classes: Name of each class; empty for a regression.
        fitted: Preprocessing that has been applied.
    """

    train: Part
    val: Part
    test: Part | None
    kind: Kind
    classes: tuple[str, ...] = ()
    fitted: FittedPreprocessing = FittedPreprocessing()

    @property
    def n_classes(self) -> int | None:
        """Number of classes; None for a regression."""
        return len(self.classes) or None

    @property
    def samples(self) -> Tensor:
        """Features of all training samples, of shape [N, ...]."""
        return self.train.x

    @property
    def known_targets(self) -> Tensor:
        """Targets of all training samples."""
        return self.train.y

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the features of one sample."""
        return tuple(self.train.x.shape[1:])

    @property
    def dtype(self) -> str:
        """Type of the features: ``float32`` or ``int64``."""
        return str(self.train.x.dtype).removeprefix("torch.")

    @property
    def n_features(self) -> int:
        """The number of features of one sample."""
        return math.prod(self.in_shape)

    def to(self, device: torch.device | str) -> Splits:
        """Returns the data in a device's memory."""
        test = self.test.to(device) if self.test else None
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=test)


def as_wide(x: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """Returns features of a fold in the shape that those of all rows have.

    A category that a fold's training rows lack has no column there: one of zeros stands in.

    Raises:
        TaskError: The features are no rows of numbers, or there are more of them.
    """
    shape = tuple(x.shape[1:])
    if shape == wanted:
        return x
    if len(shape) != 1 or len(wanted) != 1 or shape[0] > wanted[0]:
        raise TaskError(
            f"preprocessing gives features of shape {list(shape)} in a fold, and of "
            f"{list(wanted)} for all rows; it must give as many in each"
        )
    return functional.pad(x, (0, wanted[0] - shape[0]))
