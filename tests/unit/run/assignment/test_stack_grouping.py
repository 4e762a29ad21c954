"""Stack grouping: which planned assignments become lanes of the stacks that there are."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from hpo.run.assignment.stack_grouping import fitting
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
    is_required: bool = False,
    n_running: int = 0,
) -> list[int]:
    chosen = fitting(
        planned, lambda n: KINDS[n], present, is_required=is_required, n_running=n_running
    )
    return [one.number for one in chosen]


def test_a_full_stack_takes_its_own_kind_only() -> None:
    planned: list[Advance | Start] = [_advance(2), _advance(0), _advance(1), _start(9)]
    assert _numbers(planned, {"a"}, n_running=6) == [0, 1]


def test_a_stack_that_has_run_dry_takes_the_most_wanted_of_another_kind() -> None:
    planned: list[Advance | Start] = [_advance(2), _advance(3), _advance(4), _advance(0), _start(9)]
    assert _numbers(planned, {"a"}, n_running=0) == [2, 0]
    assert _numbers(planned, {"a", "b"}, n_running=0) == [2, 3, 0]


def test_new_trials_fill_the_stack_whose_structure_they_get() -> None:
    planned: list[Advance | Start] = [_advance(2), _start(8), _start(9)]
    assert _numbers(planned, {"a"}, is_required=True, n_running=2) == [8, 9]
    assert _numbers(planned, {"a"}, is_required=False, n_running=0) == [2]


@pytest.mark.parametrize("planned", [[_advance(2)], [_start(9)], [_start(8), _start(9)]])
def test_an_empty_worker_always_begins_one_trial(
    planned: list[Advance | Start],
) -> None:
    assert len(_numbers(planned, set())) == 1


def test_nothing_planned_is_nothing_chosen() -> None:
    assert _numbers([], {"a"}) == []
