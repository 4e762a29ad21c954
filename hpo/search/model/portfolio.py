"""Portfolio: points that served other tasks well, by the names of their parameters."""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Final

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo.search.base.coordinates import Coordinate, Floats
from hpo.search.base.param_encoding import Encoder, Point
from hpo.search.model.initial_design import quasi_random_point

FILE: Final = "portfolio.toml"
OPTIMIZER: Final = "optimizer"
_USUAL_OPTIMIZER: Final = "sgd"
_FEWEST_KNOWN: Final = 2
_OF_OPTIMIZER: Final = (OPTIMIZER, "learning_rate", "momentum")
# A value this far outside of a parameter's range, in factors or in shares of the range, is
# another point than the one that served well.
_FACTOR_TOO_FAR: Final = 4.0
_SHARE_TOO_FAR: Final = 0.25


@dataclass(frozen=True)
class Portfolio:
    """Points that served well, in the order in which they should be tried.

    Attributes:
        version: Changes with the points.
        names: For each parameter other names of it.
        points: Values by parameter; ``optimizer`` lists the optimizers that a point is for.
        sources: Names of the studies that some of the points come from.
    """

    version: str
    names: Mapping[str, Sequence[str]]
    points: Sequence[Mapping[str, Any]]
    sources: Sequence[str] = ()

    def for_objective(self, names: Iterable[str]) -> Portfolio:
        """Returns what of the points serves an objective, whose optimizer may be in its code.

        A learning rate says nothing without its optimizer. With momentum that is SGD, mostly.

        Args:
            names: Those of the objective's parameters.
        """
        if {OPTIMIZER, "momentum"} & set(map(self.usual_name, names)):
            return self
        left = [
            {name: value for name, value in point.items() if name not in _OF_OPTIMIZER}
            for point in self.points
        ]
        return replace(self, points=left)

    def usual_name(self, name: str) -> str:
        """Returns the name by which the portfolio knows a parameter, else its own."""
        plain = name.lower()
        return next((usual for usual, names in self.names.items() if plain in names), plain)


@functools.cache
def shipped() -> Portfolio:
    """Returns the portfolio that comes with the package."""
    path = resources.files("hpo.search") / "knowledge" / FILE
    return read(path.read_text(encoding="utf-8"))


def read(text: str) -> Portfolio:
    """Reads a portfolio file."""
    table = tomllib.loads(text)
    return Portfolio(table["version"], table["names"], table["points"])


def first_points(
    portfolio: Portfolio, encoder: Encoder, fixed: Mapping[str, Any], seed: int
) -> Floats | None:
    """Places the portfolio's points in a study's space.

    A value outside of its range is moved to the end of it, if that is close; parameters that the
    portfolio does not know are spread evenly over their ranges.

    Args:
        portfolio: The points.
        encoder: The searched parameters.
        fixed: Values of the others.
        seed: The study's.

    Returns:
        [K, P] Snapped points without doubles; None where the space has too little in common
        with the portfolio.
    """
    columns = {portfolio.usual_name(column.name): column for column in encoder.columns}
    known = {name for point in portfolio.points for name in point} - {OPTIMIZER}
    n_known = len(known & columns.keys())
    is_ours = "learning_rate" in columns or 2 * n_known >= len(columns)
    if n_known < _FEWEST_KNOWN or not is_ours:
        return None
    settled = {portfolio.usual_name(name): value for name, value in fixed.items()}
    spread = (
        encoder.decode(quasi_random_point(encoder, seed, i))[0]
        for i in range(len(portfolio.points))
    )
    placed = [
        point
        for entry, around in zip(portfolio.points, spread, strict=True)
        if (point := _placed(entry, around, columns, settled)) is not None
    ]
    rows = encoder.snap(_filled(encoder.encode(placed)))
    unique = dict(zip(encoder.keys(rows), range(len(rows)), strict=True))
    return rows[sorted(unique.values())] if len(rows) else None


def _placed(
    entry: Mapping[str, Any],
    around: Point,
    columns: Mapping[str, Coordinate],
    settled: Mapping[str, Any],
) -> Point | None:
    """Returns a point of the study's space like an entry of the portfolio, None if there is none.

    Args:
        entry: The portfolio's point.
        around: Values for parameters that it does not have.
        columns: The searched parameters by their usual names.
        settled: The fixed values by their usual names.
    """
    point = dict(around)
    for usual, column in columns.items():
        if usual == OPTIMIZER or usual not in entry:
            continue
        value = nearest(column, entry[usual])
        if value is None:
            return None
        point[column.name] = value
    optimizer = _optimizer(entry.get(OPTIMIZER, ()), columns.get(OPTIMIZER), settled)
    if optimizer is None:
        return None
    if OPTIMIZER in columns and optimizer:
        point[columns[OPTIMIZER].name] = optimizer
    return point


def _optimizer(
    suited: Iterable[str], column: Coordinate | None, settled: Mapping[str, Any]
) -> str | None:
    """Returns the optimizer to use with an entry, "" for any, None where none is suited."""
    allowed = list(suited)
    if not allowed:
        return ""
    if column is None:
        return _in(allowed, [settled.get(OPTIMIZER, _USUAL_OPTIMIZER)])
    kind = column.distribution
    return _in(allowed, kind.choices if isinstance(kind, CategoricalDistribution) else ())


def _in(allowed: Sequence[str], found: Iterable[Any]) -> str | None:
    choices = [str(choice).lower() for choice in found]
    return next((name for name in allowed if name in choices), None)


def nearest(column: Coordinate, value: Any) -> Any:
    """Returns the value of a parameter that comes closest to another, None if it is too far."""
    kind = column.distribution
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if not math.isnan(column.encode(value)) else None
    if isinstance(kind, CategoricalDistribution):
        numbers = [one for one in kind.choices if isinstance(one, int | float)]
        numbers = [one for one in numbers if not isinstance(one, bool)]
        close = min(numbers, key=lambda one: _apart(one, value), default=None)
        return close if close is not None and not _is_far(close, value, 0.0) else None
    assert isinstance(kind, FloatDistribution | IntDistribution)
    moved = min(max(value, kind.low), kind.high)
    return None if _is_far(moved, value, kind.high - kind.low) else moved


def _apart(one: float, other: float) -> float:
    """Returns the distance of two values, by their logarithms where they have some."""
    return abs(math.log(one / other)) if min(one, other) > 0.0 else abs(one - other)


def _is_far(moved: float, value: float, width: float) -> bool:
    if abs(moved - value) <= _SHARE_TOO_FAR * width:
        return False
    if moved <= 0.0 or value <= 0.0:
        return True
    return max(moved / value, value / moved) > _FACTOR_TOO_FAR


def _filled(rows: Floats) -> Floats:
    """Gives parameters that do not apply a coordinate, for ``snap`` to take away again."""
    return np.where(np.isnan(rows), 0.5, rows)
