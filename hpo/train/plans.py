"""How samples come into splits, preprocessed by what the training rows tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hpo.errors import TaskError
from hpo.spec.study import ValidationSpec
from hpo.train.arrays import Targets, as_features, take
from hpo.train.boundary import user_code
from hpo.train.parts import Part, Splits
from hpo.train.splitting import Assignment, assign_by_order, assign_groups, assign_rows


class Preprocess(Protocol):
    """What scikit-learn calls a transformer.

    It may also have ``transform_target(y)``, which is then applied to the targets of a regression,
    a float32 array of shape [N] or [N, T].
    """

    def fit(self, x: Any, y: Any) -> Any:
        """Learns from training rows: features as the user has them, targets as an array."""

    def transform(self, x: Any) -> Any:
        """Returns numbers of shape [N, ...] for rows of features."""


class Plan(Protocol):
    """How data comes into splits."""

    def splits(self, validation: ValidationSpec) -> Splits:
        """Returns the data in splits; what the task leaves open is the study's to say."""


@dataclass(frozen=True, eq=False)
class Ready:
    """Splits that the user made."""

    ready: Splits

    def splits(self, validation: ValidationSpec) -> Splits:
        """See ``Plan``."""
        return self.ready


@dataclass(frozen=True, eq=False)
class Cut:
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
        y = targets.y
        has_strata = self.stratify and targets.kind == "classification" and y.dim() == 1
        return assign_rows(
            len(y),
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            strata=y.numpy() if has_strata else None,
        )


@dataclass(frozen=True, eq=False)
class Cutting:
    """A split of rows, and what is fitted to the training rows.

    Attributes:
        x: Features as the user has them, or a tensor without ``preprocess``.
        targets: One a row.
        cut: Where to cut.
        preprocess: Applied to the features, and to the targets if it has ``transform_target``.
        test: Features and targets of a test split that was given; then none is cut off.
    """

    x: Any
    targets: Targets
    cut: Cut
    preprocess: Preprocess | None
    test: tuple[Any, Tensor] | None = None

    def splits(self, validation: ValidationSpec) -> Splits:
        """See ``Plan``."""
        rows = self.cut.assign(self.targets, validation)
        y = self.targets.y
        if self.preprocess is not None:
            with user_code("the preprocessing"):
                y_train = y[torch.from_numpy(rows.train)].numpy()
                self.preprocess.fit(take(self.x, rows.train), y_train)
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
            return Part(x, y)
        with user_code("the preprocessing"):
            features = as_features(self.preprocess.transform(x), "the preprocessed features")
            transform_target = getattr(self.preprocess, "transform_target", None)
            if transform_target is not None and self.targets.kind == "regression":
                y = torch.as_tensor(transform_target(y.numpy()), dtype=torch.float32)
        require_same_length(len(features), len(y))
        return Part(features, y)


def require_same_length(n_x: int, n_y: int) -> None:
    """Refuses features and targets of different lengths.

    Raises:
        TaskError: They differ.
    """
    if n_x != n_y:
        raise TaskError(f"features and targets must be as many; found {n_x} and {n_y}")


def _first(own: float | None, of_study: float) -> float:
    return of_study if own is None else own
