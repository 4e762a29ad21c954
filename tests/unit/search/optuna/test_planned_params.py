"""Planned params: an objective gets the point of its trial, within the ranges that it asks for."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import create_trial

from hpo.search.optuna.planned_params import PLANNED, PlannedSampler, planned_params


def planned_trial(plan: dict[str, Any]) -> optuna.Trial:
    study = optuna.create_study(sampler=PlannedSampler(RandomSampler(seed=0)))
    study.add_trial(
        create_trial(state=optuna.trial.TrialState.WAITING, system_attrs={PLANNED: plan})
    )
    return study.ask()


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (0.3, FloatDistribution(0.0, 1.0), 0.3),
        (5.0, FloatDistribution(0.0, 1.0), 1.0),
        (9, IntDistribution(1, 4), 4),
        (4, IntDistribution(1, 9, step=4), 5),
        (0.34, FloatDistribution(0.0, 1.0, step=0.25), 0.25),
        (None, CategoricalDistribution([None, "a"]), None),
        (True, CategoricalDistribution([1, True, "a"]), True),
    ],
)
def test_a_value_that_the_parameter_cannot_take_moves_to_the_nearest(
    value: Any, kind: Any, expected: Any
) -> None:
    found = planned_trial({"x": value})._suggest("x", kind)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("value", ["adam", True, None])
def test_a_value_of_another_kind_is_drawn_anew(value: Any) -> None:
    trial = planned_trial({"x": value})
    assert 0.0 <= trial.suggest_float("x", 0.0, 1.0) <= 1.0
    assert trial.suggest_categorical("y", ["a", "b"]) in ("a", "b")


def test_trials_without_a_plan_are_left_to_the_sampler() -> None:
    study = optuna.create_study(sampler=PlannedSampler(optuna.samplers.TPESampler(seed=1)))
    alone = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    for each in (study, alone):
        each.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=14)
    assert [t.params for t in study.trials] == [t.params for t in alone.trials]


def test_enqueued_params_are_a_plan_too_but_its_own_comes_first() -> None:
    enqueued = {"fixed_params": {"x": 1}}
    assert planned_params(create_trial(value=0, system_attrs=enqueued)) == {"x": 1}
    both = {**enqueued, PLANNED: {"x": 2}}
    assert planned_params(create_trial(value=0, system_attrs=both)) == {"x": 2}
    assert planned_params(create_trial(value=0)) == {}
