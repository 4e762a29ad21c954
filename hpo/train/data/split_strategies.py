"""Split strategies: from samples to splits, with preprocessing fitted to the training rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from hpo.errors import TaskError
from hpo.spec.study_spec import ValidationSpec
from hpo.train.data.arrays import Targets, as_features, take, trained_targets
from hpo.train.data.checksums import digest_of
from hpo.train.data.fitted_preprocessing import encode
from hpo.train.data.fold_assignment import fold_by_order, fold_groups, fold_rows
from hpo.train.data.loading.loaded_splits import AnySplits
from hpo.train.data.split_assignment import (
    Assignment,
    Rows,
    assign_by_order,
    assign_groups,
    assign_rows,
)
from hpo.train.data.splits import FittedPreprocessing, Part, Splits, as_wide
from hpo.train.user_code_guard import user_code


class Preprocess(Protocol):
    """A transformer, as scikit-learn defines it.

    It may also have ``transform_target(y)``, which is then applied to the targets of a regression,
    a float64 array of shape [N] or [N, T].
    """

    def fit(self, x: Any, y: Any) -> Any:
        """Learns from training rows: features as the user has them, targets as an array."""

    def transform(self, x: Any) -> Any:
        """Returns numbers of shape [N, ...] for rows of features."""


class SplitStrategy(Protocol):
    """The strategy that splits data."""

    def splits(self, validation: ValidationSpec) -> AnySplits:
        """Returns the data in splits; what the task leaves open is the study's to say."""

    def folds(self, validation: ValidationSpec, n_folds: int) -> tuple[AnySplits, ...]:
        """Returns the data in the splits of each fold."""

    def features(self, x: Any, validation: ValidationSpec) -> tuple[Tensor, ...]:
        """Returns other samples as the models of each fold take them, of one where there is one."""

    def in_units(self, y: Tensor) -> Tensor:
        """Returns numbers that a model was trained to give in the units of the targets."""

    def checksum(self) -> str:
        """Returns a digest of all features and targets, before any preprocessing."""


@dataclass(frozen=True, eq=False)
class FixedSplits(SplitStrategy):
    """Splits that the user made."""

    ready: Splits

    @override
    def splits(self, validation: ValidationSpec) -> Splits:
        return self.ready

    @override
    def folds(self, validation: ValidationSpec, n_folds: int) -> tuple[Splits, ...]:
        """Refuses to split the data again.

        Raises:
            TaskError: Always: which samples may be mixed is not known.
        """
        raise TaskError("the task's data is split already, so that it cannot be cut into folds")

    @override
    def features(self, x: Any, validation: ValidationSpec) -> tuple[Tensor, ...]:
        return (as_features(x),)

    @override
    def in_units(self, y: Tensor) -> Tensor:
        return y

    @override
    def checksum(self) -> str:
        parts = [part for part in (self.ready.train, self.ready.val, self.ready.test) if part]
        return digest_of(*(values for part in parts for values in (part.x, part.y)))


@dataclass(frozen=True, eq=False)
class SplitRule:
    """Where data is cut; None leaves the choice to the study.

    Attributes:
        stratify: Whether each class is shared out evenly.
        groups: Group of each row; a group stays in one split.
        order: What the rows are ordered by; the last ones are for testing.
        seed: Of a random cut.
        val_fraction: Share of the rows for validation.
        test_fraction: Share of the rows for testing.
    """

    stratify: bool = True
    groups: Any = None
    order: Any = None
    seed: int | None = None
    val_fraction: float | None = None
    test_fraction: float | None = None

    def assign(self, targets: Targets, validation: ValidationSpec) -> Assignment:
        """Assigns rows to splits.

        Raises:
            TaskError: There are too few rows, or the fractions do not go together.
        """
        val_fraction = _first(self.val_fraction, validation.val_fraction)
        test_fraction = _first(self.test_fraction, validation.test_fraction)
        seed = int(_first(self.seed, validation.seed))
        if self.order is not None:
            return assign_by_order(
                self.order, val_fraction=val_fraction, test_fraction=test_fraction
            )
        if self.groups is not None:
            return assign_groups(
                self.groups, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed
            )
        return assign_rows(
            len(targets.y),
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            strata=self._strata(targets),
        )

    def folds(self, targets: Targets, validation: ValidationSpec, n_folds: int) -> list[Assignment]:
        """Assigns rows to the splits of each fold; the test rows are those of a single split.

        Raises:
            TaskError: There are too few rows.
        """
        whole = self.assign(targets, validation)
        pool, seed = np.union1d(whole.train, whole.val), int(_first(self.seed, validation.seed))
        if self.order is not None:
            return fold_by_order(pool, whole.test, n_folds, self.order)
        if self.groups is not None:
            return fold_groups(pool, whole.test, n_folds, seed, self.groups)
        return fold_rows(pool, whole.test, n_folds, seed, self._strata(targets))

    def _strata(self, targets: Targets) -> Any:
        y = targets.y
        is_one_each = targets.kind == "classification" and y.dim() == 1
        return y.numpy() if self.stratify and is_one_each else None


@dataclass(frozen=True, eq=False)
class RowSplits(SplitStrategy):
    """A split of rows, and what is fitted to the training rows.

    Attributes:
        x: Features as the user has them, or a tensor without ``preprocess``.
        targets: One a row.
        rule: Where to cut.
        preprocess: Applied to the features, and to the targets if it has ``transform_target``.
        test: Features and targets of a test split that was given; then none is cut off.
    """

    x: Any
    targets: Targets
    rule: SplitRule
    preprocess: Preprocess | None
    test: tuple[Any, Tensor] | None = None

    @override
    def splits(self, validation: ValidationSpec) -> Splits:
        rows = self.rule.assign(self.targets, validation)
        self._fit(rows.train)
        fitted = encode(self.preprocess)
        return replace(self._splits(rows), fitted=FittedPreprocessing(fitted, fitted))

    @override
    def folds(self, validation: ValidationSpec, n_folds: int) -> tuple[Splits, ...]:
        """Returns the data in the splits of each fold.

        Preprocessing of the features is fitted to each fold's own training rows. The targets of a
        regression have one scale in all folds, fitted to all rows but the test rows, so that
        metrics are in the same units.
        """
        found = []
        for rows in (assigned := self.rule.folds(self.targets, validation, n_folds)):
            self._fit(rows.train)
            splits = self._splits(rows)
            found.append(replace(splits, fitted=FittedPreprocessing(encode(self.preprocess))))
        if self.preprocess is None:
            return tuple(found)
        # A task may ask what was fitted for the number of features.
        self._fit(np.union1d(assigned[-1].train, assigned[-1].val))
        units = encode(self.preprocess)
        wholes = [
            replace(self._splits(rows), fitted=FittedPreprocessing(one.fitted.own, units))
            for rows, one in zip(assigned, found, strict=True)
        ]
        pairs = zip(found, wholes, strict=True)
        return tuple(_with_targets_of(one, whole) for one, whole in pairs)

    @override
    def features(self, x: Any, validation: ValidationSpec) -> tuple[Tensor, ...]:
        """Preprocessing is fitted to each fold's training rows."""
        n_folds = validation.folds or 1
        if n_folds == 1:
            return (self._encoded(x, self.rule.assign(self.targets, validation).train),)
        assigned = self.rule.folds(self.targets, validation, n_folds)
        known = np.union1d(assigned[-1].train, assigned[-1].val)
        each = [self._encoded(x, rows.train) for rows in assigned]
        # Last, for what was fitted tells the number of features, and the units of the targets.
        whole = self._encoded(x, known)
        return tuple(as_wide(one, tuple(whole.shape[1:])) for one in each)

    @override
    def in_units(self, y: Tensor) -> Tensor:
        """To be called after ``features``, which fits what has an ``inverse_target``."""
        inverse = getattr(self.preprocess, "inverse_target", None)
        return y if inverse is None else torch.as_tensor(inverse(y.double().numpy()))

    @override
    def checksum(self) -> str:
        return digest_of(self.x, self.targets.y, *(self.test or ()))

    def _encoded(self, x: Any, rows: Rows) -> Tensor:
        """Returns samples preprocessed by what some rows tell."""
        self._fit(rows)
        with user_code("the preprocessing"):
            return as_features(x if self.preprocess is None else self.preprocess.transform(x))

    def _fit(self, rows: Rows) -> None:
        if self.preprocess is not None:
            with user_code("the preprocessing"):
                y_train = self.targets.y[torch.from_numpy(rows)].numpy()
                self.preprocess.fit(take(self.x, rows), y_train)

    def _splits(self, rows: Assignment) -> Splits:
        y = self.targets.y
        train, val, cut_off = (
            self._part(take(self.x, part), y[torch.from_numpy(part)]) if len(part) else None
            for part in (rows.train, rows.val, rows.test)
        )
        assert train is not None
        assert val is not None
        test = self._part(*self.test) if self.test is not None else cut_off
        return Splits(train, val, test, self.targets.kind, classes=self.targets.classes)

    def _part(self, x: Any, y: Tensor) -> Part:
        if self.preprocess is None:
            return Part(x, trained_targets(y))
        with user_code("the preprocessing"):
            features = as_features(self.preprocess.transform(x), "the preprocessed features")
            transform_target = getattr(self.preprocess, "transform_target", None)
            if transform_target is not None and self.targets.kind == "regression":
                y = torch.as_tensor(transform_target(y.numpy()))
        require_same_length(len(features), len(y))
        return Part(features, trained_targets(y))


def _with_targets_of(splits: Splits, whole: Splits) -> Splits:
    """Returns splits with others' targets, and features as wide as theirs."""

    def part(own: Part | None, other: Part | None) -> Part | None:
        if own is None or other is None:
            return None
        return Part(as_wide(own.x, tuple(other.x.shape[1:])), other.y)

    train, val = part(splits.train, whole.train), part(splits.val, whole.val)
    assert train is not None
    assert val is not None
    test = part(splits.test, whole.test)
    return replace(splits, train=train, val=val, test=test, fitted=whole.fitted)


def require_same_length(n_x: int, n_y: int) -> None:
    """Refuses features and targets of different lengths.

    Raises:
        TaskError: They differ.
    """
    if n_x != n_y:
        raise TaskError(f"features and targets must be as many; found {n_x} and {n_y}")


def _first(own: float | None, of_study: float) -> float:
    return of_study if own is None else own
