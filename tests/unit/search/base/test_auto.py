"""What `auto` chooses, and how it says so."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from hpo.search.base.auto import choose
from hpo.search.base.decisions import Ask
from hpo.search.optuna.model_pruner import ModelPruner
from hpo.search.optuna.model_sampler import ModelSampler
from hpo.search.optuna.pruners import make_pruner
from hpo.search.optuna.samplers import sampler_factory
from hpo.search.schedulers.registry import make_scheduler
from tests.kits import search_kit as kit
from tests.kits.crew import objective_spec


@pytest.mark.parametrize(
    ("changes", "can_pause", "expected"),
    [
        ({}, True, ("auto", "freeze-thaw")),
        ({}, False, ("auto", "freeze-thaw")),
        ({"sampler": "tpe"}, True, ("tpe", "asha")),
        ({"pruner": "median"}, True, ("auto", "median")),
        ({"budget": {"trials": 9, "epochs": 2}}, True, ("auto", "none")),
        ({"metric": ["val_loss", "latency"], "direction": ["minimize"] * 2}, True, ("tpe", "none")),
        (
            {
                "metric": ["val_loss", "latency"],
                "direction": ["minimize"] * 2,
                "budget": {"trials": 5000, "epochs": 9},
            },
            True,
            ("nsga2", "none"),
        ),
        ({"space": {"x": {"choices": list(range(200))}}}, True, ("tpe", "asha")),
    ],
)
def test_it_chooses_by_space_budget_and_objectives(
    changes: dict[str, Any], can_pause: bool, expected: tuple[str, str]
) -> None:
    spec = kit.spec(**changes)
    choice = choose(spec, can_pause=can_pause)
    assert (choice.sampler, choice.scheduler) == expected
    assert choice.reason
    assert make_scheduler(spec).name == expected[1]


def test_what_the_user_named_needs_no_reason() -> None:
    assert choose(kit.spec(sampler="tpe", pruner="median")).reason == ""


@pytest.mark.parametrize(
    ("can_pause", "budget", "scheduler", "reason"),
    [
        (
            False,
            {"trials": 9},
            "freeze-thaw",
            "hardly be the best are stopped, or pause with hpo.Run",
        ),
        (True, {"trials": 9}, "freeze-thaw", "params and epochs; trials pause"),
        (True, {"trials": 9, "epochs": 3}, "none", "it has 3 epochs at most"),
        (False, {"trials": 9, "epochs": 3}, "freeze-thaw", "process over params;"),
    ],
)
def test_the_reason_says_whether_trials_of_an_objective_pause(
    can_pause: bool, budget: dict[str, Any], scheduler: str, reason: str
) -> None:
    choice = choose(objective_spec(budget=budget), can_pause=can_pause)
    assert choice.scheduler == scheduler
    assert reason in choice.reason


def test_options_of_the_named_pruner_reach_its_scheduler() -> None:
    spec = kit.spec(pruner={"name": "asha", "min_resource": 5, "reduction_factor": 2})
    plan = make_scheduler(spec).plan(kit.Run(spec).history.curves(), Ask(1))
    assert plan.starts[0].epoch_stop == 5


def test_objectives_get_the_model_behind_optunas_interfaces() -> None:
    spec = kit.spec()
    assert isinstance(sampler_factory(spec)(0), ModelSampler)
    assert isinstance(make_pruner(spec), ModelPruner)


def _objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0.0, 1.0)
    y = trial.suggest_categorical("y", ["a", "b"])
    height = 1.0 - (x - 0.3) ** 2 - (0.2 if y == "b" else 0.0)
    for step in range(20):
        trial.report(height * (step + 1) / 20.0, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return height


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_optuna_finds_the_peak_with_them_and_stops_the_hopeless(seed: int) -> None:
    study = optuna.create_study(
        direction="maximize", sampler=ModelSampler(seed=seed), pruner=ModelPruner()
    )
    study.optimize(_objective, n_trials=20)
    assert abs(study.best_params["x"] - 0.3) < 0.1
    assert study.best_params["y"] == "a"
    # A search that goes well proposes no point bad enough; these are.
    for x in (0.9, 0.95, 1.0):
        study.enqueue_trial({"x": x, "y": "b"})
    study.optimize(_objective, n_trials=3)
    states = [trial.state for trial in study.trials[20:]]
    assert states == [optuna.trial.TrialState.PRUNED] * 3
