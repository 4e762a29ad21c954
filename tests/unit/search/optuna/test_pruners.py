"""Halving keeps the best of each rung, whoever is asked about first."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from hpo.search.optuna.pruners import HalvingPruner


def kept(
    curves: list[dict[int, float]], direction: Literal["minimize", "maximize"] = "maximize"
) -> set[int]:
    """Returns the numbers of the running trials that go on; all have just reported."""
    study = optuna.create_study(direction=direction)
    for curve in curves:
        study.add_trial(create_trial(state=TrialState.RUNNING, intermediate_values=curve))
    pruner = HalvingPruner(lowest=3, factor=3)
    return {t.number for t in study.get_trials() if not pruner.prune(study, t)}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_trials_that_arrive_together_are_judged_together(order: tuple[int, ...]) -> None:
    values = [0.1 * i for i in range(9)]
    shuffled = [values[i] for i in (*order, *range(4, 9))]
    best = kept([{1: 0.0, 2: 0.0, 3: value} for value in shuffled])
    assert {shuffled[number] for number in best} == set(values[-3:])
    least = kept([{3: value} for value in shuffled], "minimize")
    assert {shuffled[number] for number in least} == set(values[:3])


def test_between_the_rungs_nothing_is_stopped() -> None:
    others = [dict.fromkeys(range(1, 28), 1.0) for _ in range(9)]
    for n_steps in range(1, 28):
        poor = dict.fromkeys(range(1, n_steps + 1), 0.0)
        assert (9 not in kept([*others, poor])) == (n_steps in (3, 9, 27))


def test_a_rung_that_was_stepped_over_counts_once() -> None:
    others = [{2: 1.0, 4: 1.0, 6: 1.0}] * 9
    assert 9 not in kept([*others, {2: 0.0, 4: 0.0}])
    assert 9 in kept([*others, {2: 0.0, 4: 0.0, 6: 0.0}])


def test_the_first_goes_on_and_nan_does_not() -> None:
    assert kept([{3: 0.0}]) == {0}
    assert kept([{3: math.nan}, {3: 0.0}, {}]) == {1, 2}
