"""Grid: the points of a finite search space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpo.errors import SpecError
from hpo.spec.space.dimensions import last_step
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, Parameter, SearchSpace

MAX_POINTS = 1_000_000


def grid_points(space: SearchSpace) -> list[dict[str, Any]]:
    """Returns the points of a finite space that satisfy its conditions.

    Raises:
        SpecError: The space has a continuous parameter, or more than ``MAX_POINTS`` points.
    """
    points: list[dict[str, Any]] = [{}]
    for name in space.order():
        values = _values(name, space[name])
        active = [space.is_active(name, point) for point in points]
        if sum(len(values) if applies else 1 for applies in active) > MAX_POINTS:
            raise SpecError(f"the grid has more than {MAX_POINTS:,} points; use sampler = 'random'")
        points = [
            {**point, name: value} if applies else point
            for point, applies in zip(points, active, strict=True)
            for value in (values if applies else (None,))
        ]
    return points


def _values(name: str, parameter: Parameter) -> Sequence[Any]:
    match parameter:
        case Categorical():
            return parameter.choices
        case Fixed():
            return [parameter.value]
        case Int():
            return range(parameter.low, parameter.high + 1, parameter.step or 1)
        case Float(low=low, high=high, step=step):
            if step is None:
                raise SpecError(f"sampler = 'grid' needs a step for space.{name}; it is continuous")
            n_steps = round((last_step(low, high, step) - low) / step)
            return [last_step(low, low + i * step, step) for i in range(n_steps + 1)]
