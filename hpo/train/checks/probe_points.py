"""Points of a search space that show what a task does with it before any trial is spent."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, Parameter, SearchSpace

Point: TypeAlias = dict[str, Any]
Pick: TypeAlias = Callable[[Parameter], Any]


def typical(space: SearchSpace) -> Params:
    """Returns the middle of a space: of ranges the middle, of choices the first."""
    return Params(_point(space, {}, _middle))


def corners(space: SearchSpace) -> list[Point]:
    """Returns points at which every parameter applies, and every choice is taken, at least once.

    They are the middle, the low and the high end, and for each parameter points where it alone
    differs from the middle: each choice, both ends of whole numbers. Conditions are made to hold.
    """
    points = [_point(space, {}, pick) for pick in (_middle, _low, _high)]
    for name in space.order():
        pins = _pins(space, name)
        ends = _ends(space[name])
        points += [_point(space, pins | {name: value}, _middle) for value in ends]
    return [point for i, point in enumerate(points) if point not in points[:i]]


def scattered(space: SearchSpace, n: int, seed: int = 0) -> list[Point]:
    """Returns ``n`` random points."""
    generator = random.Random(seed)
    return [_point(space, {}, lambda parameter: _draw(parameter, generator)) for _ in range(n)]


def nearby(space: SearchSpace, point: Mapping[str, Any], name: str, value: Any) -> Point:
    """Returns a point with another value of one parameter.

    Parameters that apply only then have the middle of their range.
    """
    return _point(space, {**point, name: value}, _middle)


def alternatives(parameter: Parameter) -> tuple[Any, ...]:
    """Returns values that a parameter can take: every choice, or low end, middle and high end."""
    if isinstance(parameter, Categorical):
        return parameter.choices
    return tuple(_between(parameter, share) for share in (0.0, 0.5, 1.0))


def _point(space: SearchSpace, pins: Mapping[str, Any], pick: Pick) -> Point:
    point: Point = {}
    for name in space.order():
        if space.is_active(name, point):
            point[name] = pins[name] if name in pins else pick(space[name])
    return {name: point[name] for name in space.names if name in point}


def _pins(space: SearchSpace, name: str) -> Point:
    """Returns values of a parameter's ancestors with which it applies."""
    pins: Point = {}
    for parent, allowed in space[name].when.items():
        pins |= {parent: allowed[0], **_pins(space, parent)}
    return pins


def _ends(parameter: Parameter) -> tuple[Any, ...]:
    match parameter:
        case Categorical(choices=choices):
            return choices
        case Int(low=low, high=high):
            return (low, high)
    return (_middle(parameter),) if parameter.when else ()


def _middle(parameter: Parameter) -> Any:
    return _between(parameter, 0.5)


def _low(parameter: Parameter) -> Any:
    return _between(parameter, 0.0)


def _high(parameter: Parameter) -> Any:
    return parameter.choices[-1] if isinstance(parameter, Categorical) else _between(parameter, 1.0)


def _draw(parameter: Parameter, generator: random.Random) -> Any:
    if isinstance(parameter, Categorical):
        return generator.choice(parameter.choices)
    return _between(parameter, generator.random())


def _between(parameter: Parameter, share: float) -> Any:
    """Returns the value that has a share of the range below it; of choices the first."""
    match parameter:
        case Fixed(value=value):
            return value
        case Categorical(choices=choices):
            return choices[0]
        case Float(low=low, high=high) | Int(low=low, high=high):
            is_log = parameter.log
            value = low * (high / low) ** share if is_log else low + share * (high - low)
            step = parameter.step or (1 if isinstance(parameter, Int) else None)
            if step:
                value = low + math.floor((value - low) / step + 1e-9) * step
            return min(max(value, low), high)
