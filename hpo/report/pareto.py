"""Pareto front: the points that no other point dominates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def pareto_front(points: Mapping[int, tuple[float, ...]], directions: Sequence[str]) -> list[int]:
    """Returns the keys of the points that no other point dominates.

    Args:
        points: Values of the objectives by key; all have the same length.
        directions: ``maximize`` or ``minimize`` for each objective.
    """
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in directions]
    costs = {
        key: tuple(sign * x for sign, x in zip(signs, point, strict=True))
        for key, point in points.items()
    }
    front: list[int] = []
    # A point's dominators come before it in this order, and each is on the front or is
    # dominated by a point that is.
    for key in sorted(costs, key=lambda k: costs[k]):
        if not any(_dominates(costs[other], costs[key]) for other in front):
            front.append(key)
    return front


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
