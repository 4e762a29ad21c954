"""Which planned assignments become lanes together."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from hpo.run.assignment.stack_grouping import together
from hpo.search.base.decisions import Advance, Start

KINDS = {0: "a", 1: "a", 2: "b", 3: "b", 4: "c"}


def _advance(number: int) -> Advance:
    return Advance(number, 9)


def _start(number: int) -> Start:
    return Start(number, None, 3)


def _numbers(
    planned: list[Advance | Start],
    present: set[Hashable],
    *,
    is_pinned: bool = False,
    n_going: int = 0,
) -> list[int]:
    chosen = together(planned, lambda n: KINDS[n], present, is_pinned=is_pinned, n_going=n_going)
    return [one.number for one in chosen]


def test_a_full_stack_takes_its_own_kind_only() -> None:
    planned = [_advance(2), _advance(0), _advance(1), _start(9)]
    assert _numbers(planned, {"a"}, n_going=6) == [0, 1]


def test_a_stack_that_has_run_dry_takes_the_most_wanted_of_another_kind() -> None:
    planned = [_advance(2), _advance(3), _advance(4), _advance(0), _start(9)]
    assert _numbers(planned, {"a"}, n_going=0) == [2, 0]
    assert _numbers(planned, {"a", "b"}, n_going=0) == [2, 3, 0]


def test_new_trials_fill_the_stack_whose_structure_they_get() -> None:
    planned = [_advance(2), _start(8), _start(9)]
    assert _numbers(planned, {"a"}, is_pinned=True, n_going=2) == [8, 9]
    assert _numbers(planned, {"a"}, is_pinned=False, n_going=0) == [2]


@pytest.mark.parametrize("planned", [[_advance(2)], [_start(9)], [_start(8), _start(9)]])
def test_somebody_always_gets_the_places_of_an_empty_worker(
    planned: list[Advance | Start],
) -> None:
    assert len(_numbers(planned, set())) == 1


def test_nothing_planned_is_nothing_chosen() -> None:
    assert _numbers([], {"a"}) == []
