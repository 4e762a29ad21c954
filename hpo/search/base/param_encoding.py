"""Encoder: points of a search space as rows of numbers, for models and for drawing new points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
    json_to_distribution,
)

from hpo.search.base.coordinates import Bools, Coordinate, Floats
from hpo.search.base.distributions import distribution
from hpo.spec.space.dimensions import same
from hpo.spec.space.search_space import Fixed, SearchSpace

Point: TypeAlias = dict[str, Any]
Ints: TypeAlias = npt.NDArray[np.int64]
Conditions: TypeAlias = Mapping[str, tuple[Any, ...]]

# Distance of two choices in the space of features: as far apart as the ends of a number.
_HOT = math.sqrt(0.5)


class Encoder:
    """Turns points into rows and back.

    Args:
        columns: The searched parameters, parents before children.
        conditions: For each parameter that has some, the allowed values by parent.
        fixed: Values of the fixed parameters, which conditions may ask for.
    """

    def __init__(
        self,
        columns: Sequence[Coordinate],
        conditions: Mapping[str, Conditions] | None = None,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in columns)
        self._index = {name: j for j, name in enumerate(self.names)}
        self._conditions = {name: when for name, when in (conditions or {}).items() if when}
        self._fixed = dict(fixed or {})
        self.n_choices = np.array([column.n_choices for column in columns], dtype=np.int64)

    @classmethod
    def of_space(cls, space: SearchSpace) -> Encoder:
        """Returns the encoder of a study's space."""
        columns, fixed = [], {}
        for name in space.order():
            parameter = space[name]
            kind = distribution(parameter)
            if kind is not None:
                columns.append(Coordinate.of(name, kind))
            elif isinstance(parameter, Fixed):
                fixed[name] = parameter.value
        return cls(columns, {name: space[name].when for name in space}, fixed)

    @classmethod
    def of_distributions(cls, kinds: Mapping[str, BaseDistribution]) -> Encoder:
        """Returns the encoder of parameters without conditions."""
        return cls([Coordinate.of(name, kind) for name, kind in kinds.items()])

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> Encoder:
        """Returns the encoder that ``to_table`` describes."""
        columns = [
            Coordinate.of(name, json_to_distribution(kind)) for name, kind in table["columns"]
        ]
        conditions = {
            name: {parent: tuple(values) for parent, values in when.items()}
            for name, when in table["conditions"].items()
        }
        return cls(columns, conditions)

    def to_table(self) -> dict[str, Any]:
        """Returns the encoder of a space without fixed parameters as plain JSON."""
        return {
            "columns": [[c.name, distribution_to_json(c.distribution)] for c in self.columns],
            "conditions": {
                name: {parent: list(values) for parent, values in when.items()}
                for name, when in self._conditions.items()
            },
        }

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def has_conditions(self) -> bool:
        """Whether some parameters apply at some points only."""
        return bool(self._conditions)

    @property
    def n_points(self) -> float:
        """Number of points if all parameters always applied; infinite if one is continuous."""
        return math.prod(column.n_values for column in self.columns)

    @property
    def owners(self) -> Ints:
        """Index of the parameter behind each feature, [D]."""
        return np.repeat(np.arange(len(self)), np.maximum(self.n_choices, 1))

    @property
    def is_ordered(self) -> Bools:
        """Whether a feature is a number's coordinate, not a choice, [D]."""
        return np.asarray((self.n_choices == 0)[self.owners])

    def encode(self, points: Sequence[Mapping[str, Any]]) -> Floats:
        """Returns the coordinates of points, [N, P].

        NaN stands where a parameter is missing, or has a value outside its range.
        """
        rows = np.full((len(points), len(self)), np.nan)
        for row, point in zip(rows, points, strict=True):
            for j, column in enumerate(self.columns):
                if column.name in point:
                    row[j] = column.encode(point[column.name])
        return rows

    def stretched(self, units: Floats) -> Floats:
        """Returns coordinates for numbers between 0 and 1, evenly spread as a user expects it.

        Args:
            units: [N, P]

        Returns:
            [N, P]; a linear range of several powers of ten is covered more densely below.
        """
        rows = np.empty_like(units)
        for j, column in enumerate(self.columns):
            rows[:, j] = units[:, j] ** 3 if column.is_wide else units[:, j]
        return rows * np.maximum(self.n_choices, 1)

    def snap(self, rows: Floats) -> Floats:
        """Returns the coordinates of the values that rows stand for; NaN where inactive.

        Args:
            rows: [N, P] without NaN.
        """
        snapped = np.empty_like(rows)
        for j, column in enumerate(self.columns):
            snapped[:, j] = column.snap(rows[:, j])
        for name in self.names:
            if name in self._conditions:
                snapped[~self._applies(name, snapped), self._index[name]] = np.nan
        return snapped

    def decode(self, rows: Floats) -> list[Point]:
        """Returns the points at snapped rows; parameters that do not apply are left out."""
        return [
            {
                column.name: column.decode(coordinate)
                for column, coordinate in zip(self.columns, row.tolist(), strict=True)
                if not math.isnan(coordinate)
            }
            for row in rows
        ]

    def features(self, rows: Floats) -> Floats:
        """Returns what a model sees of the points at snapped rows, [N, D].

        A number is its coordinate, a categorical parameter one column a choice. A number that
        does not apply stands in the middle, and a choice that does not apply is 0 in all its
        columns.
        """
        parts = [np.zeros((len(rows), 0))]
        for j, n in enumerate(self.n_choices):
            column = rows[:, j]
            if n == 0:
                parts.append(np.where(np.isnan(column), 0.5, column)[:, None])
            else:
                parts.append((np.arange(n)[None] == column[:, None]) * _HOT)
        return np.concatenate(parts, axis=1)

    def keys(self, rows: Floats) -> list[bytes]:
        """Returns for each snapped row what it shares with rows of the same point only."""
        return [row.tobytes() for row in np.nan_to_num(np.round(rows, 9), nan=-1.0) + 0.0]

    def _applies(self, name: str, snapped: Floats) -> Bools:
        applies = np.ones(len(snapped), dtype=bool)
        for parent, values in self._conditions[name].items():
            applies &= self._is_one_of(parent, values, snapped)
        return applies

    def _is_one_of(self, parent: str, values: tuple[Any, ...], snapped: Floats) -> Bools:
        if parent in self._index:
            # A parent that does not apply is NaN, which equals nothing.
            column = self.columns[self._index[parent]]
            return column.is_one_of(snapped[:, self._index[parent]], values)
        is_met = parent in self._fixed and any(same(self._fixed[parent], v) for v in values)
        applies = np.full(len(snapped), is_met)
        if parent in self._conditions:
            applies &= self._applies(parent, snapped)
        return applies
