"""The end of a study: one trial is trained to the end while there is time for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpo.search.base.curves import Curves
from hpo.search.base.decisions import Advance, Ask, Plan
from hpo.search.schedulers.planner import decide
from tests.kits import search_kit as kit

HORIZON = 27


@pytest.fixture(scope="module")
def run() -> kit.Run:
    """A study whose trials have all paused."""
    found = kit.Run(kit.spec(), n_places=12)
    found.fill()
    while found.running:
        found.train()
    return found


def plan_at(run: kit.Run, **changes: Any) -> tuple[Plan, Curves]:
    ask = Ask(4, memory=run.memory, **changes)
    curves = run.history.curves()
    return decide(run.scheduler, curves, ask, None), curves


def to_the_end(plan: Plan) -> list[int]:
    return [one.number for one in plan.advances if one.epoch_stop == HORIZON]


def test_with_time_enough_nothing_changes(run: kit.Run) -> None:
    plan, _ = plan_at(run)
    assert to_the_end(plan) == []
    assert plan_at(run, depth_left=10_000.0)[0] == plan


def test_before_the_deadline_the_best_trial_goes_on_to_the_end(run: kit.Run) -> None:
    curves = run.history.curves()
    best = int(np.nanargmax(curves.best))
    plan, _ = plan_at(run, depth_left=HORIZON - curves.epochs[best] + 1.0)
    assert to_the_end(plan) == [int(curves.numbers[best])]
    assert len(plan.assignments) == 4
    advanced = [one.number for one in plan.assignments if isinstance(one, Advance)]
    assert len(advanced) == len(set(advanced))


def test_with_little_time_it_is_one_that_can_still_be_complete(run: kit.Run) -> None:
    plan, curves = plan_at(run)
    left = HORIZON - curves.epochs
    depth = float(left.min())
    plan, _ = plan_at(run, depth_left=depth)
    (number,) = to_the_end(plan)
    assert left[curves.rows_of([number])[0]] <= depth


def test_without_time_for_any_nothing_changes(run: kit.Run) -> None:
    assert to_the_end(plan_at(run, depth_left=1.0)[0]) == []
