"""Objectives that find their space while they run: whatever they ask for and report."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.search.optuna.inferred_space import encoder_of, inferred_distributions
from hpo.search.optuna.model_sampler import ModelSampler
from hpo.search.optuna.pruners import PRUNERS
from hpo.search.optuna.samplers import SAMPLERS, sampler_factory
from tests.kits.crew import Crew, best, n_distinct, objective_spec

NAMED_SAMPLERS = [name for name in SAMPLERS if name != "grid"]


def quadratic(trial: optuna.Trial) -> float:
    x, y = trial.suggest_float("x", -10, 10), trial.suggest_float("y", -10, 10)
    return (x - 2) ** 2 + (y + 3) ** 2


def conditional(trial: optuna.Trial) -> float:
    kind = trial.suggest_categorical("kind", ["line", "net"])
    if kind == "line":
        return 1.0 + trial.suggest_float("slope", 0.0, 1.0)
    value = (math.log10(trial.suggest_float("rate", 1e-4, 1.0, log=True)) + 2.0) ** 2
    for i in range(trial.suggest_int("depth", 1, 3)):
        value += 0.3 * (trial.suggest_float(f"width{i}", 0.0, 1.0) - 0.3) ** 2
    return value


def reporting(trial: optuna.Trial) -> float:
    x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
    value = math.inf
    for step in range(10):
        value = (x - 0.3) ** 2 + y + 1 / (step + 1)
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


@pytest.mark.parametrize("name", NAMED_SAMPLERS)
def test_two_workers_propose_no_point_twice_with_any_sampler(name: str) -> None:
    for objective in (quadratic, conditional):
        crew = Crew(objective_spec(sampler=name))
        assert n_distinct(crew.run(objective, 12)) == 12
        # Other workers go on later, and repeat nothing.
        crew.relieve()
        assert n_distinct(crew.run(objective, 2)) == 14


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in PRUNERS if n != "threshold"])
def test_every_pruner_goes_with_the_default_search(name: str) -> None:
    trials = Crew(objective_spec(pruner=name)).run(reporting, 16)
    assert n_distinct(trials) == 16
    assert best(trials) < 0.5


@pytest.mark.slow
def test_the_default_stops_the_hopeless_and_none_before_it_knows_anything() -> None:
    trials = Crew(objective_spec()).run(reporting, 30)
    states = [trial.state for trial in trials]
    assert set(states[:8]) == {TrialState.COMPLETE}
    assert 2 <= states.count(TrialState.PRUNED) <= 24
    assert best(trials) < 0.11


def _reporting_trial(x: float, y: float, n_steps: int) -> FrozenTrial:
    reports = {step: (x - 0.3) ** 2 + y + 1 / (step + 1) for step in range(n_steps)}
    unit = FloatDistribution(0.0, 1.0)
    return create_trial(
        state=TrialState.COMPLETE if n_steps == 10 else TrialState.PRUNED,
        params={"x": x, "y": y},
        distributions={"x": unit, "y": unit},
        value=reports[n_steps - 1],
        intermediate_values=reports,
    )


def test_trials_stopped_at_one_corner_do_not_hold_the_search_at_another() -> None:
    initial = [(0.88, 0.53), (0.58, 0.037), (0.95, 0.86), (0.12, 0.26), (0.21, 0.97), (0.85, 0.4)]
    corner = [(0.74, 0.7), (0.31, 0.17), (0.0, 0.0096), (0.0, 0.0), (1e-6, 0.0), (0.0026, 0.0)]
    study = optuna.create_study(sampler=ModelSampler(seed=0))
    study.add_trials([_reporting_trial(x, y, 10) for x, y in initial + corner])
    study.add_trials([_reporting_trial(x, 0.0, 1) for x in (1.0, 1.0 - 1e-6, 0.9998)])
    study.optimize(reporting, n_trials=4)
    # The corner has 0.19, the optimum 0.1.
    assert study.best_value < 0.11


@pytest.mark.parametrize("name", NAMED_SAMPLERS)
def test_parameters_that_do_not_apply_always_differ_between_trials(name: str) -> None:
    trials = Crew(objective_spec(sampler=name)).run(conditional, 20)
    slopes = [t.params["slope"] for t in trials if "slope" in t.params]
    assert len(set(slopes)) == len(slopes)


@pytest.mark.slow
def test_parameters_that_apply_at_times_are_searched_too() -> None:
    found = best(Crew(objective_spec()).run(conditional, 30))
    chance = [
        best(Crew(objective_spec(seed=seed, sampler="random")).run(conditional, 30))
        for seed in range(5)
    ]
    assert found < 0.5 * min(chance)


def _ranges_follow_from_others(trial: optuna.Trial) -> float:
    n = trial.suggest_int("n", 1, 20)
    k = trial.suggest_int("k", 1, n)
    return abs(n - 12) + abs(k - 7) + trial.suggest_float("x", 0, n)


def _parameters_come_later(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    return x + (trial.suggest_float("late", 0, 1) if trial.number >= 6 else 1.0)


def _ranges_change_for_good(trial: optuna.Trial) -> float:
    high = 10.0 if trial.number < 9 else 1.0
    return trial.suggest_float("x", 0, high) + trial.suggest_float("y", 0, 1)


def _nothing_is_asked_for(trial: optuna.Trial) -> float:
    trial.report(1.0, 0)
    return 0.0 if trial.should_prune() else 1.0


def _one_value_each(trial: optuna.Trial) -> float:
    trial.suggest_categorical("only", ["one"])
    trial.report(trial.suggest_int("n", 3, 3), 1)
    return float(trial.should_prune())


def _steps_are_irregular(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    for step in range(trial.number % 3, 400, 37 + trial.number):
        trial.report(x + 1 / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x


def _only_step_0(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    trial.report(x, 0)
    if trial.should_prune():
        raise optuna.TrialPruned
    return x


def _reports_that_are_no_numbers(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    for step in range(6):
        trial.report([math.nan, math.inf, -math.inf, x][(step + trial.number) % 4], step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x


def _infinite_values(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    return {0: math.inf, 1: -math.inf, 2: 1e308, 3: -1e308}.get(trial.number % 7, x)


def _prunes_itself_unreported(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    if x > 0.5:
        raise optuna.TrialPruned
    return x


def _reports_something_else(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    for step in range(5):
        trial.report(1000.0 * x + step, step)
        trial.should_prune()
    return (x - 0.3) ** 2


ODD: list[Callable[[optuna.Trial], float]] = [
    _ranges_follow_from_others,
    _parameters_come_later,
    _ranges_change_for_good,
    _nothing_is_asked_for,
    _one_value_each,
    _steps_are_irregular,
    _only_step_0,
    _reports_that_are_no_numbers,
    _infinite_values,
    _prunes_itself_unreported,
    _reports_something_else,
]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ODD, ids=lambda one: one.__name__.strip("_"))
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_no_objective_breaks_the_default_search(
    objective: Callable[[optuna.Trial], float], direction: str
) -> None:
    trials = Crew(objective_spec(direction=direction)).run(objective, 18)
    if objective not in (_nothing_is_asked_for, _one_value_each):
        assert n_distinct(trials) == 18


@pytest.mark.slow
def test_reports_of_another_quantity_do_not_mislead_the_sampler() -> None:
    spec = objective_spec(pruner="none")
    assert best(Crew(spec).run(_reports_something_else, 30)) < 1e-4


def test_several_objectives_are_searched_as_well() -> None:
    def both(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        return x, (1 - x) ** 2 + trial.suggest_float("y", 0, 1)

    trials = Crew(objective_spec(direction=["minimize", "maximize"])).run(both, 20)
    assert n_distinct(trials) == 20


def _trial(number: int, **drawn: tuple[Any, BaseDistribution]) -> FrozenTrial:
    trial = create_trial(
        params={name: value for name, (value, _) in drawn.items()},
        distributions={name: kind for name, (_, kind) in drawn.items()},
        value=0.0,
    )
    trial.number = number
    return trial


def test_conditions_are_found_from_what_is_missing_in_complete_trials() -> None:
    kind, depth = CategoricalDistribution(["line", "net"]), IntDistribution(1, 4)
    width = IntDistribution(1, 99)
    trials = [_trial(0, kind=("line", kind))]
    for number, n in enumerate([1, 3, 2], 1):
        widths = {f"width{i}": (5 * i + number, width) for i in range(n)}
        trials.append(_trial(number, kind=("net", kind), depth=(n, depth), **widths))
    encoder = encoder_of(inferred_distributions(trials), trials)
    row = {"kind": "net", "depth": 2, "width0": 1, "width1": 2, "width2": 3}
    assert set(encoder.decode(encoder.snap(encoder.encode([row])))[0]) == set(row) - {"width2"}
    row["kind"] = "line"
    assert set(encoder.decode(encoder.snap(encoder.encode([row])))[0]) == {"kind"}


def test_the_space_of_an_objective_is_what_it_asks_for_not_what_its_file_says() -> None:
    spec = objective_spec(space={"x": {"low": 5, "high": 9}})
    assert isinstance(sampler_factory(spec)(0), ModelSampler)
    assert n_distinct(Crew(spec).run(quadratic, 12)) == 12
