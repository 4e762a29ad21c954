"""A task's data: features and targets, and how they are split.

The objective is measured on validation rows. Test rows are for the best trial alone, and whatever
is fitted to the data, preprocessing included, sees the training rows only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hpo.errors import TaskError
from hpo.spec.study import ValidationSpec
from hpo.train.arrays import Kind, Targets, as_features, as_targets, n_rows, take
from hpo.train.boundary import user_code
from hpo.train.splitting import Assignment, assign_rows

__all__ = ["Data", "Kind", "Part", "Preprocess", "Splits"]

Pair: TypeAlias = tuple[Any, Any]


class Preprocess(Protocol):
    """What scikit-learn calls a transformer.

    It may also have ``transform_target(y)``, which is then applied to the targets of a regression,
    a float32 array of shape [N] or [N, T].
    """

    def fit(self, x: Any, y: Any) -> Any:
        """Learns from training rows: features as the user has them, targets as an array."""

    def transform(self, x: Any) -> Any:
        """Returns numbers of shape [N, ...] for rows of features."""


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


@dataclass(frozen=True, eq=False)
class Splits:
    """Data ready to train with.

    Attributes:
        train: What models are fitted on.
        val: What trials are compared on.
        test: What only the best trial sees, if there is a test split.
        kind: What is to be learnt.
        classes: Name of each class; empty for a regression.
    """

    train: Part
    val: Part
    test: Part | None
    kind: Kind
    classes: tuple[str, ...] = ()

    @property
    def n_classes(self) -> int | None:
        """Number of classes; None for a regression."""
        return len(self.classes) or None

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the features of one sample."""
        return tuple(self.train.x.shape[1:])

    @property
    def n_features(self) -> int:
        """How many numbers the features of one sample are."""
        return math.prod(self.in_shape)

    def to(self, device: torch.device | str) -> Splits:
        """Returns the data in a device's memory."""
        test = self.test.to(device) if self.test else None
        return Splits(
            self.train.to(device), self.val.to(device), test, self.kind, classes=self.classes
        )


class _Plan(Protocol):
    def splits(self, validation: ValidationSpec) -> Splits: ...


@dataclass(frozen=True, eq=False)
class Data:
    """All samples of a task; made by ``split`` or ``fixed``.

    Attributes:
        kind: ``classification`` or ``regression``.
        classes: Name of each class, in the order of their numbers; empty for a regression.
        n_rows: Number of samples, those of all splits together.
        plan: How they come into splits.
    """

    kind: Kind
    classes: tuple[str, ...]
    n_rows: int
    plan: _Plan

    @property
    def n_classes(self) -> int | None:
        """Number of classes; None for a regression."""
        return len(self.classes) or None

    def __len__(self) -> int:
        return self.n_rows

    @classmethod
    def split(  # noqa: PLR0913 - the one call that every task's author makes
        cls,
        x: Any,
        y: Any,
        *,
        kind: Kind | None = None,
        stratify: bool = True,
        seed: int | None = None,
        val_fraction: float | None = None,
        test_fraction: float | None = None,
        preprocess: Preprocess | None = None,
    ) -> Data:
        """Makes data that is split at random.

        The study's ``[validation]`` says how, except for what is given here.

        Args:
            x: Features of any shape, one row a sample: a tensor, NumPy array, DataFrame or nested
                list. A tensor of int32 or int64 stays whole numbers, as embeddings need them;
                everything else becomes float32. A model takes one tensor: several inputs must be
                joined in it.
            y: Targets, one a sample: numbers, or classes of any type.
            kind: ``classification`` or ``regression``; by default real numbers are a regression,
                anything else are classes.
            stratify: Whether each class is shared out evenly; without meaning for a regression.
            seed: Seed of the split.
            val_fraction: Share of the samples that trials are compared on.
            test_fraction: Share that only the best trial sees; 0 for none.
            preprocess: A transformer such as scikit-learn's ``StandardScaler()``. It is fitted in
                place, on training rows only, whenever splits are made.

        Raises:
            TaskError: The data cannot be used as it is.
        """
        targets = as_targets(y, kind)
        if preprocess is None:
            x = as_features(x)
        elif not hasattr(x, "shape"):
            x = np.asarray(x)
        _require_same_length(n_rows(x), len(targets.y))
        plan = _Random(x, targets, stratify, seed, val_fraction, test_fraction, preprocess)
        return cls(targets.kind, targets.classes, len(targets.y), plan)

    @classmethod
    def fixed(
        cls, train: Pair, val: Pair, test: Pair | None = None, *, kind: Kind | None = None
    ) -> Data:
        """Makes data that is split already; the study's ``[validation]`` changes nothing.

        Args:
            train: Features and targets to train on; see ``split`` for what they may be.
            val: Those that trials are compared on.
            test: Those that only the best trial sees.
            kind: See ``split``.

        Raises:
            TaskError: The data cannot be used as it is.
        """
        pairs = [pair for pair in (train, val, test) if pair is not None]
        xs = [as_features(x) for x, _ in pairs]
        if len({x.shape[1:] for x in xs}) > 1:
            shapes = ", ".join(str(list(x.shape)) for x in xs)
            raise TaskError(f"the splits must have features of one shape; found {shapes}")
        if len({x.dtype for x in xs}) > 1:
            types = ", ".join(str(x.dtype).removeprefix("torch.") for x in xs)
            raise TaskError(f"the splits must have features of one type; found {types}")
        targets = as_targets(_joined([y for _, y in pairs]), kind)
        ys = _cut(targets.y, [(len(x), n_rows(y)) for x, (_, y) in zip(xs, pairs, strict=True)])
        parts = [Part(x, y) for x, y in zip(xs, ys, strict=True)]
        if not all(map(len, parts)):
            raise TaskError("no split may be empty")
        ready = Splits(
            parts[0], parts[1], parts[2] if test else None, targets.kind, targets.classes
        )
        return cls(targets.kind, targets.classes, len(targets.y), _Ready(ready))

    def splits(self, validation: ValidationSpec | None = None) -> Splits:
        """Returns the data in splits, the same whenever and wherever it is called.

        Args:
            validation: The study's; by default a fifth each for validation and test.

        Raises:
            TaskError: There are too few samples, or the preprocessing raises.
        """
        return self.plan.splits(validation or ValidationSpec())


@dataclass(frozen=True, eq=False)
class _Ready:
    """Splits that the user made."""

    ready: Splits

    def splits(self, validation: ValidationSpec) -> Splits:
        return self.ready


@dataclass(frozen=True, eq=False)
class _Random:
    """A random split; None leaves the choice to the study."""

    x: Any
    targets: Targets
    stratify: bool
    seed: int | None
    val_fraction: float | None
    test_fraction: float | None
    preprocess: Preprocess | None

    def splits(self, validation: ValidationSpec) -> Splits:
        rows = self._assign(validation)
        if self.preprocess is not None:
            with user_code("the preprocessing"):
                y_train = self.targets.y[torch.from_numpy(rows.train)].numpy()
                self.preprocess.fit(take(self.x, rows.train), y_train)
        test = self._part(rows.test) if len(rows.test) else None
        train, val = self._part(rows.train), self._part(rows.val)
        return Splits(train, val, test, self.targets.kind, classes=self.targets.classes)

    def _assign(self, validation: ValidationSpec) -> Assignment:
        y = self.targets.y
        is_stratified = self.stratify and self.targets.kind == "classification" and y.dim() == 1
        return assign_rows(
            len(y),
            val_fraction=_first(self.val_fraction, validation.val_fraction),
            test_fraction=_first(self.test_fraction, validation.test_fraction),
            seed=int(_first(self.seed, validation.seed)),
            strata=y.numpy() if is_stratified else None,
        )

    def _part(self, rows: Any) -> Part:
        x, y = take(self.x, rows), self.targets.y[torch.from_numpy(rows)]
        if self.preprocess is None:
            return Part(x, y)
        with user_code("the preprocessing"):
            features = as_features(self.preprocess.transform(x), "the preprocessed features")
            transform_target = getattr(self.preprocess, "transform_target", None)
            if transform_target is not None and self.targets.kind == "regression":
                y = torch.as_tensor(transform_target(y.numpy()), dtype=torch.float32)
        _require_same_length(len(features), len(y))
        return Part(features, y)


def _first(own: float | None, of_study: float) -> float:
    return of_study if own is None else own


def _require_same_length(n_x: int, n_y: int) -> None:
    if n_x != n_y:
        raise TaskError(f"features and targets must be as many; found {n_x} and {n_y}")


def _joined(ys: list[Any]) -> Any:
    arrays = [np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y) for y in ys]
    try:
        return np.concatenate(arrays)
    except ValueError as error:
        raise TaskError(f"the splits must have targets of one shape: {error}") from error


def _cut(y: Tensor, lengths: list[tuple[int, int]]) -> list[Tensor]:
    for n_x, n_y in lengths:
        _require_same_length(n_x, n_y)
    return list(torch.split(y, [n_y for _, n_y in lengths]))
