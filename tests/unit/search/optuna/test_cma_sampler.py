"""CMA-ES that learns from the trials alone."""

from __future__ import annotations

from typing import Literal

import optuna
import pytest
from optuna.samplers import RandomSampler

from hpo.search.optuna.cma_sampler import CmaSampler


def _sphere(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -5.0, 5.0)
    y = trial.suggest_float("y", 1e-3, 1e3, log=True)
    n = trial.suggest_int("n", 0, 20)
    trial.suggest_categorical("kind", ["a", "b"])
    return float((x - 1.0) ** 2 + (y > 1.0) * 0.1 + (n - 12) ** 2 / 10.0)


def _best(
    sampler: optuna.samplers.BaseSampler, direction: Literal["minimize", "maximize"] = "minimize"
) -> float:
    study = optuna.create_study(direction=direction, sampler=sampler)
    sign = 1.0 if direction == "minimize" else -1.0
    study.optimize(lambda trial: sign * _sphere(trial), n_trials=150)
    return sign * study.best_value


@pytest.mark.slow
def test_it_closes_in_on_the_minimum() -> None:
    assert _best(CmaSampler(seed=1)) < 0.01 < _best(RandomSampler(seed=0))


@pytest.mark.slow
def test_it_maximises_as_well() -> None:
    assert _best(CmaSampler(seed=1), "maximize") < 0.01


def test_another_process_goes_on_where_the_first_one_ended() -> None:
    storage = optuna.storages.InMemoryStorage()
    whole = optuna.create_study(sampler=CmaSampler(seed=3))
    whole.optimize(_sphere, n_trials=40)
    study = optuna.create_study(study_name="s", storage=storage, sampler=CmaSampler(seed=3))
    study.optimize(_sphere, n_trials=20)
    again = optuna.load_study(study_name="s", storage=storage, sampler=CmaSampler(seed=3))
    again.optimize(_sphere, n_trials=20)
    numbers = {"x", "y", "n"}
    for one, other in zip(whole.trials[1:], again.trials[1:], strict=True):
        assert {k: one.params[k] for k in numbers} == {k: other.params[k] for k in numbers}


def test_nothing_is_pickled_into_the_database() -> None:
    study = optuna.create_study(sampler=CmaSampler(seed=0))
    study.optimize(_sphere, n_trials=30)
    assert all(trial.system_attrs == {} for trial in study.trials)
