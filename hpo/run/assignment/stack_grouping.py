"""Stack grouping: which planned assignments a worker takes, so that its stacks stay full."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TypeAlias

from hpo.search.base.decisions import Advance, Start

Assignment: TypeAlias = Advance | Start


def fitting(
    planned: Sequence[Assignment],
    structure: Callable[[int], Hashable],
    present: Collection[Hashable],
    *,
    is_required: bool,
    n_running: int,
) -> list[Assignment]:
    """Returns the assignments that can be lanes of the stacks that there are.

    The others wait until the stacks are half empty: a lane here and a lane there would train as
    slowly as trials alone. Then the most wanted of them joins and brings its structure. It comes
    alone, to see how many more of that structure fit.

    Args:
        planned: The most wanted first.
        structure: Returns what trials of one stack have in common, by the number of a trial.
        present: The structures of the worker's lanes.
        is_required: Whether new trials get a structure that is present.
        n_running: Lanes that are trained on, whatever is chosen.
    """

    def kind(one: Assignment) -> Hashable:
        return structure(one.number) if isinstance(one, Advance) else None

    kinds = [kind(one) for one in planned]
    fits = [k in present if k is not None else is_required for k in kinds]
    n_lanes = n_running + sum(fits)
    if 2 * n_lanes < n_running + len(planned):
        fits[fits.index(False)] = True
    return [one for one, is_fit in zip(planned, fits, strict=True) if is_fit]
