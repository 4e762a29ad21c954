"""Coordinate: one parameter as a column of a row of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

# Most people search a range this wide on a logarithmic scale; where the study does not, the good
# values crowd at its lower end.
WIDE = 1e3
# Coordinates closer than this are the same value: rounding errors are far smaller.
SAME = 1e-9


@dataclass(frozen=True)
class Coordinate:
    """One parameter as a coordinate.

    Numbers go to [0, 1], on a logarithmic scale where the space says so; whole numbers and steps
    own cells of equal width in it. A categorical parameter's coordinate is the index of its
    choice.

    Attributes:
        name: The parameter.
        distribution: What it may be.
        low: Lower end of the scale.
        high: Upper end of the scale.
        n_values: Number of different values; infinite for a continuous one.
    """

    name: str
    distribution: BaseDistribution
    low: float
    high: float
    n_values: float

    @classmethod
    def of(cls, name: str, kind: BaseDistribution) -> Coordinate:
        """Returns the coordinate of a parameter."""
        if isinstance(kind, CategoricalDistribution):
            n = len(kind.choices)
            return cls(name, kind, 0.0, float(n), n)
        assert isinstance(kind, FloatDistribution | IntDistribution)
        half = 0.5 * (kind.step or 0.0)
        low, high = kind.low - half, kind.high + half
        n_values = math.inf if half == 0.0 else round((high - low) / (2 * half))
        if kind.log:
            low, high = math.log(low), math.log(high)
        return cls(name, kind, low, high, n_values if high > low else 1)

    @property
    def n_choices(self) -> int:
        """Number of choices of a categorical parameter, 0 for a number."""
        kind = self.distribution
        return len(kind.choices) if isinstance(kind, CategoricalDistribution) else 0

    @property
    def is_wide(self) -> bool:
        """Whether a linear range covers several powers of ten."""
        kind = self.distribution
        if not isinstance(kind, FloatDistribution | IntDistribution) or kind.log:
            return False
        return kind.low > 0 and kind.high / kind.low >= WIDE

    def encode(self, value: Any) -> float:
        """Returns the coordinate of a value, NaN for one that the parameter cannot take."""
        kind = self.distribution
        if isinstance(kind, CategoricalDistribution):
            try:
                return float(kind.to_internal_repr(value))
            except ValueError:
                return math.nan
        assert isinstance(kind, FloatDistribution | IntDistribution)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return math.nan
        if not kind.low <= value <= kind.high:
            return math.nan
        if self.high <= self.low:
            return 0.5
        position = math.log(value) if kind.log else float(value)
        return (position - self.low) / (self.high - self.low)

    def decode(self, coordinate: float) -> Any:
        """Returns the value at a coordinate, as plain Python has it."""
        kind = self.distribution
        if isinstance(kind, CategoricalDistribution):
            return kind.choices[min(int(coordinate), len(kind.choices) - 1)]
        value = float(self._values(np.array([coordinate]))[0])
        return round(value) if isinstance(kind, IntDistribution) else value

    def snap(self, coordinates: Floats) -> Floats:
        """Returns the coordinates of the values that stand at coordinates, [N]."""
        if self.n_choices:
            return np.clip(np.floor(coordinates), 0, self.n_choices - 1)
        if self.high <= self.low:
            return np.full(len(coordinates), 0.5)
        values = self._values(coordinates)
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        positions = np.log(values) if self.distribution.log else values
        return (positions - self.low) / (self.high - self.low)

    def is_one_of(self, coordinates: Floats, values: tuple[Any, ...]) -> Bools:
        """Returns where snapped coordinates, [N], stand for one of several values."""
        wanted = [self.encode(value) for value in values]
        return np.asarray(np.any([np.abs(coordinates - one) < SAME for one in wanted], axis=0))

    def _values(self, coordinates: Floats) -> Floats:
        kind = self.distribution
        assert isinstance(kind, FloatDistribution | IntDistribution)
        positions = self.low + coordinates * (self.high - self.low)
        values = np.exp(positions) if kind.log else positions
        if kind.step:
            n_steps = np.rint((values - kind.low) / kind.step)
            # Twelve decimals: 0.1 + 2 * 0.1 should be 0.3.
            values = np.round(kind.low + n_steps * kind.step, 12)
        return np.clip(values, kind.low, kind.high)
