"""Schedulers that only stop decide as Optuna's pruners do, for all lanes at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from hpo.search.base.curves import Curves, State
from hpo.search.base.decisions import Ask, Decision
from hpo.search.base.history import History, ObservedTrial
from hpo.search.base.param_encoding import Encoder
from hpo.search.optuna.pruners import make_pruner
from hpo.search.schedulers.registry import make_scheduler
from hpo.spec.study_spec import StudySpec
from tests.kits import search_kit as kit

EPOCHS = 12
RULES: list[dict[str, Any]] = [
    {"name": "none"},
    {"name": "median", "n_startup_trials": 3},
    {"name": "median", "n_startup_trials": 0, "n_warmup_steps": 4, "interval_steps": 3},
    {"name": "percentile", "percentile": 70.0, "n_startup_trials": 2, "n_min_trials": 4},
    {"name": "threshold", "lower": 0.3, "upper": 0.8, "n_warmup_steps": 2},
    {"name": "patient", "patience": 2, "min_delta": 0.02},
    {"name": "asha", "type": "stop"},
    {"name": "asha", "type": "stop", "min_resource": 2, "reduction_factor": 2},
    {"name": "wilcoxon", "p_threshold": 0.2, "n_startup_steps": 4},
]


def _spec(rule: dict[str, Any], metric: str) -> StudySpec:
    space = {"x": {"low": 0.0, "high": 1.0}}
    budget = {"trials": 20, "epochs": EPOCHS}
    return kit.spec(metric=metric, space=space, pruner=rule, budget=budget)


def _trials(seed: int) -> list[tuple[State, list[float]]]:
    """Returns complete, stopped and running trials with curves of many shapes."""
    rng = np.random.default_rng(seed)
    trials = []
    for i in range(18):
        n = EPOCHS if i < 7 else int(rng.integers(1, EPOCHS))
        values = rng.random() * (1.0 - np.exp(-np.arange(1, n + 1) / 4.0))
        values = values + 0.05 * rng.standard_normal(n)
        state = State.COMPLETE if i < 7 else State.PRUNED if i < 10 else State.RUNNING
        trials.append((state, values.tolist()))
    return trials


def _curves(spec: StudySpec, trials: list[tuple[State, list[float]]]) -> Curves:
    maximize = spec.directions[0] == "maximize"
    history = History(Encoder.of_space(spec.space), EPOCHS, maximize)
    for number, (state, values) in enumerate(trials):
        final = values[-1] if state == State.COMPLETE else None
        curve = dict(enumerate(values, start=1))
        history.put(ObservedTrial(number, state, {"x": 0.5}, curve, EPOCHS, final))
    return history.curves()


def _by_optuna(spec: StudySpec, trials: list[tuple[State, list[float]]]) -> list[bool]:
    study = optuna.create_study(direction=spec.directions[0])
    states = {
        State.COMPLETE: TrialState.COMPLETE,
        State.PRUNED: TrialState.PRUNED,
        State.RUNNING: TrialState.RUNNING,
    }
    for state, values in trials:
        study.add_trial(
            create_trial(
                state=states[state],
                value=values[-1] if state == State.COMPLETE else None,
                intermediate_values=dict(enumerate(values, start=1)),
            )
        )
    pruner = make_pruner(spec)
    return [pruner.prune(study, t) for t in study.trials if t.state == TrialState.RUNNING]


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_lanes_stop_where_optunas_pruner_would_stop_them(rule: dict[str, Any], metric: str) -> None:
    spec = _spec(rule, metric)
    scheduler = make_scheduler(spec)
    n_stopped = 0
    for seed in range(12):
        trials = _trials(seed)
        running = [i for i, (state, _) in enumerate(trials) if state == State.RUNNING]
        verdicts = scheduler.judge(_curves(spec, trials), running)
        stopped = [verdict == Decision.STOP for verdict in verdicts]
        assert stopped == _by_optuna(spec, trials)
        n_stopped += sum(stopped)
    assert n_stopped > 0 or rule["name"] == "none"


def test_new_trials_go_to_the_end_and_the_budget_is_kept() -> None:
    spec = _spec({"name": "median"}, "val_accuracy")
    plan = make_scheduler(spec).plan(_curves(spec, []), Ask(4, n_new=3))
    assert [start.number for start in plan.starts] == [0, 1, 2]
    assert {start.epoch_stop for start in plan.starts} == {EPOCHS}
    assert not plan.finished


def test_it_is_over_when_nothing_runs_and_nothing_may_begin() -> None:
    spec = _spec({"name": "none"}, "val_accuracy")
    scheduler = make_scheduler(spec)
    running = [(State.RUNNING, [0.1])]
    assert not scheduler.plan(_curves(spec, running), Ask(1, n_new=0)).finished
    done = [(State.COMPLETE, [0.1] * EPOCHS)]
    assert scheduler.plan(_curves(spec, done), Ask(1, n_new=0)).finished


def test_params_of_optunas_samplers_are_left_to_them() -> None:
    spec = kit.spec(sampler="tpe", pruner="median")
    history = History(Encoder.of_space(spec.space), 27, True)
    plan = make_scheduler(spec).plan(history.curves(), Ask(2))
    assert [start.params for start in plan.starts] == [None, None]
