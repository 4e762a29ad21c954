"""Data of a task: features and targets, and how they are split.

The objective is measured on validation rows. Test rows are for the best trial alone, and whatever
is fitted to the data, preprocessing included, sees the training rows only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hpo.errors import TaskError
from hpo.spec.study_spec import ValidationSpec
from hpo.train.data.arrays import Kind, Targets, as_features, as_targets, n_rows, trained_targets
from hpo.train.data.dataset_splits import (
    AUGMENTED,
    TEST,
    TRAIN,
    VAL,
    DatasetSplits,
    Loading,
    dataset_splits,
)
from hpo.train.data.loading.loaded_splits import AnySplits
from hpo.train.data.split_strategies import (
    FixedSplits,
    Preprocess,
    RowSplits,
    SplitRule,
    SplitStrategy,
    require_same_length,
)
from hpo.train.data.splits import Part, Splits

__all__ = ["Data", "Kind", "Part", "Preprocess", "Splits"]

Pair: TypeAlias = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Data:
    """All samples of a task; made by ``split``, ``fixed`` or ``datasets``.

    Attributes:
        kind: ``classification`` or ``regression``.
        classes: Name of each class, in the order of their numbers; empty for a regression.
        n_rows: Number of samples, those of all splits together.
        plan: How they come into splits.
    """

    kind: Kind
    classes: tuple[str, ...]
    n_rows: int
    plan: SplitStrategy

    @property
    def n_classes(self) -> int | None:
        """Number of classes; None for a regression."""
        return len(self.classes) or None

    @property
    def is_loaded(self) -> bool:
        """Whether samples are read batch by batch, and are not in memory."""
        return isinstance(self.plan, DatasetSplits)

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
        groups: Any = None,
        order: Any = None,
        test: Pair | None = None,
        seed: int | None = None,
        val_fraction: float | None = None,
        test_fraction: float | None = None,
        preprocess: Preprocess | None = None,
    ) -> Data:
        """Makes data that is split at random, unless ``groups``, ``order`` or ``test`` are given.

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
            groups: Group of each sample, such as a patient: none comes into two splits.
            order: What samples are ordered by, such as a date: the last ones are for testing, those
                before them for validation.
            test: Features and targets that only the best trial sees; then none are cut off.
            seed: Seed of the split.
            val_fraction: Share of the samples that trials are compared on.
            test_fraction: Share that only the best trial sees; 0 for none.
            preprocess: A transformer such as scikit-learn's ``StandardScaler()``. It is fitted in
                place, on training rows only, whenever splits are made.

        Raises:
            TaskError: The data cannot be used as it is.
        """
        if groups is not None and order is not None:
            raise TaskError("data is split by groups or by order, not by both")
        if test is not None and test_fraction:
            raise TaskError("a test split is given or cut off; test_fraction must be 0 or absent")
        pairs = [(x, y)] if test is None else [(x, y), test]
        xs, targets, ys = _read(pairs, kind, is_raw=preprocess is not None)
        for column in (groups, order):
            if column is not None and n_rows(column) != len(ys[0]):
                n = len(ys[0])
                raise TaskError(f"{n} samples have {n_rows(column)} values to split them by")
        given = None if test is None else (xs[1], ys[1])
        own_test = test_fraction if test is None else 0.0
        rule = SplitRule(stratify, groups, order, seed, val_fraction, own_test)
        plan = RowSplits(xs[0], dataclasses.replace(targets, y=ys[0]), rule, preprocess, given)
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
        xs, targets, ys = _read(pairs, kind)
        parts = [Part(x, trained_targets(y)) for x, y in zip(xs, ys, strict=True)]
        if not all(map(len, parts)):
            raise TaskError("no split may be empty")
        ready = Splits(
            parts[0], parts[1], parts[2] if test else None, targets.kind, targets.classes
        )
        return cls(targets.kind, targets.classes, len(targets.y), FixedSplits(ready))

    @classmethod
    def datasets(  # noqa: PLR0913 - the one call that every task's author makes
        cls,
        train: Any,
        val: Any = None,
        test: Any = None,
        *,
        augmented: Any = None,
        workers: int = 4,
        prefetch: int = 2,
        collate: Callable[[list[Any]], Any] | None = None,
        target: str | None = None,
        kind: Kind | None = None,
        classes: int | Sequence[str] | None = None,
        stratify: bool = True,
        groups: Any = None,
        seed: int | None = None,
        val_fraction: float | None = None,
        test_fraction: float | None = None,
    ) -> Data:
        """Makes data of PyTorch's map-style data sets, whose items are read batch by batch.

        Items are ``(x, y)``, ``(x1, x2, ..., y)``, or dicts with the target under ``target``,
        ``targets``, ``label`` or ``labels``. A model is called ``model(x)``, ``model(x1, x2)`` or
        ``model(**inputs)``. Bytes, such as pixels, become float32 from 0 to 1 on the device.

        Args:
            train: Items to train on.
            val: Those that trials are compared on; None to cut them off ``train`` as the study's
                ``[validation]`` says.
            test: Those that only the best trial sees.
            augmented: The items of ``train`` with random changes, to train on in place of them;
                validation samples that are cut off ``train`` stay unchanged.
            workers: Processes that read items, as many as there are cores at most; 0 for none.
            prefetch: Batches that each of them reads ahead.
            collate: Makes a batch of a list of items; PyTorch's ``default_collate`` by default.
            target: Key of the targets where items are dicts.
            kind: ``classification`` or ``regression``; by default real numbers are a regression,
                whole numbers are classes.
            classes: Number of the classes, or their names; by default what the data set's
                ``classes`` or ``targets`` tell.
            stratify: See ``split``; it needs a data set that tells its ``targets``.
            groups: Group of each item of ``train``, see ``split``.
            seed: Seed of the split.
            val_fraction: Share of ``train`` that trials are compared on.
            test_fraction: Share of ``train`` that only the best trial sees; 0 for none.

        Raises:
            TaskError: The data sets cannot be used as they are.
        """
        given = {TRAIN: train, AUGMENTED: augmented, VAL: val, TEST: test}
        if val is not None and (val_fraction or test_fraction or groups is not None):
            raise TaskError("val is given or cut off; leave fractions and groups out with it")
        if test is not None and test_fraction:
            raise TaskError("a test split is given or cut off; test_fraction must be 0 or absent")
        if groups is not None and n_rows(groups) != len(train):
            raise TaskError(f"{len(train)} items have {n_rows(groups)} groups to split them by")
        own_test = test_fraction if test is None else 0.0
        plan = dataset_splits(
            {name: one for name, one in given.items() if one is not None},
            Loading(workers, prefetch, collate, target),
            SplitRule(stratify, groups, None, seed, val_fraction, own_test),
            kind,
            classes,
        )
        return cls(plan.kind, plan.classes, plan.n_rows, plan)

    def splits(self, validation: ValidationSpec | None = None) -> Splits:
        """Returns samples in memory in splits, the same whenever and wherever it is called.

        Args:
            validation: The study's; by default a fifth each for validation and test.

        Raises:
            TaskError: There are too few samples, the preprocessing raises, or the data is data
                sets, whose samples are not in memory.
        """
        found = self.plan.splits(validation or ValidationSpec())
        if not isinstance(found, Splits):
            raise TaskError("the samples of Data.datasets are not in memory, but read in batches")
        return found

    def folds(self, validation: ValidationSpec) -> tuple[AnySplits, ...]:
        """Returns the data in the splits of each of the study's folds: one where it has none.

        Raises:
            TaskError: There are too few samples for so many folds, or they are split already.
        """
        if validation.folds in (None, 1):
            return (self.plan.splits(validation),)
        return self.plan.folds(validation, validation.folds)

    def features(self, x: Any, validation: ValidationSpec | None = None) -> tuple[Tensor, ...]:
        """Returns samples that were not there, preprocessed for the models of each fold.

        Args:
            x: In the form in which ``split`` was given the features.
            validation: The study's.

        Returns:
            Tensors of shape [N, ...]: one for each fold, a single one where there are none.

        Raises:
            TaskError: The preprocessing raises.
        """
        return self.plan.features(x, validation or ValidationSpec())

    def checksum(self) -> str:
        """Returns a digest of all features and targets, before any preprocessing."""
        return self.plan.checksum()


def _read(
    pairs: list[Pair], kind: Kind | None, *, is_raw: bool = False
) -> tuple[list[Any], Targets, list[Tensor]]:
    """Returns the features of several parts, all their targets together, and those of each part.

    Args:
        pairs: Features and targets of each part.
        kind: See ``Data.split``.
        is_raw: Whether the features are left for preprocessing.
    """
    xs: list[Any]
    if is_raw:
        xs = [x if hasattr(x, "shape") else np.asarray(x) for x, _ in pairs]
    else:
        xs = [as_features(x) for x, _ in pairs]
        _require_alike(xs)
    ys = [y for _, y in pairs]
    targets = as_targets(_joined(ys) if len(ys) > 1 else ys[0], kind)
    lengths = [n_rows(y) for y in ys]
    for x, length in zip(xs, lengths, strict=True):
        require_same_length(n_rows(x), length)
    return xs, targets, list(torch.split(targets.y, lengths))


def _require_alike(xs: list[Tensor]) -> None:
    if len({x.shape[1:] for x in xs}) > 1:
        shapes = ", ".join(str(list(x.shape)) for x in xs)
        raise TaskError(f"the splits must have features of one shape; found {shapes}")
    if len({x.dtype for x in xs}) > 1:
        types = ", ".join(str(x.dtype).removeprefix("torch.") for x in xs)
        raise TaskError(f"the splits must have features of one type; found {types}")


def _joined(ys: list[Any]) -> Any:
    arrays = [np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y) for y in ys]
    try:
        return np.concatenate(arrays)
    except ValueError as error:
        raise TaskError(f"the splits must have targets of one shape: {error}") from error
