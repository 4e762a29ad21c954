"""Which planned assignments a worker takes on at once, so that its stacks stay full."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TypeAlias

from hpo.search.base.decisions import Advance, Start

Assignment: TypeAlias = Advance | Start


def together(
    planned: Sequence[Assignment],
    structure: Callable[[int], Hashable],
    present: Collection[Hashable],
    *,
    is_pinned: bool,
    n_going: int,
) -> list[Assignment]:
    """Returns the assignments that can be lanes of the stacks that there are.

    Others wait until the stacks have run half dry: a lane here and a lane there would train as
    slowly as trials alone. Then the most wanted of them joins, and brings its structure; it comes
    alone, to see how many more of that kind fit.

    Args:
        planned: The most wanted first.
        structure: Returns what trials of one stack have in common, by the number of a trial.
        present: The structures of the worker's lanes.
        is_pinned: Whether new trials get a structure that is present.
        n_going: Lanes that go on whatever is chosen.
    """

    def kind(one: Assignment) -> Hashable:
        return structure(one.number) if isinstance(one, Advance) else None

    kinds = [kind(one) for one in planned]
    fits = [k in present if k is not None else is_pinned for k in kinds]
    n_lanes = n_going + sum(fits)
    if 2 * n_lanes < n_going + len(planned):
        fits[fits.index(False)] = True
    return [one for one, is_fit in zip(planned, fits, strict=True) if is_fit]
