"""The search of an objective that pauses: a space that its trials tell, on a real database."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.report.decision_report import Replay
from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.run.assignment.scheduling import Scheduling, make_assigner
from hpo.search.optuna.planned_params import planned_params
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage
from hpo.store.studies import studies, study_records
from tests.kits.contexts import context_at
from tests.kits.resumable_crew import Loop, Params, Worker, n_epochs, run

pytestmark = pytest.mark.integration
EPOCHS = 9


def spec(**changes: Any) -> StudySpec:
    budget = {"trials": 16, "epochs": EPOCHS, **changes.pop("budget", {})}
    base = {"name": "s", "objective": "o.py:f", "direction": "maximize", "budget": budget}
    return StudySpec(**{**base, **changes})


def rises(height: float, epoch: int) -> float:
    return height * (1.0 - math.exp(-epoch / 3.0))


def _plain(trial: optuna.Trial) -> Params:
    return {
        "lr": trial.suggest_float("lr", 1e-4, 1.0, log=True),
        "k": trial.suggest_int("k", 1, 8),
    }


def _plain_value(params: Params, epoch: int) -> float:
    height = 1.0 - 0.2 * abs(math.log10(params["lr"] / 0.01)) - 0.02 * abs(params["k"] - 5)
    return rises(height, epoch)


PLAIN = Loop(_plain, _plain_value)


def _conditional(trial: optuna.Trial) -> Params:
    found: dict[str, Any] = {"kind": trial.suggest_categorical("kind", ["line", "net"])}
    if found["kind"] == "line":
        return found | {"slope": trial.suggest_float("slope", 0.0, 1.0)}
    found["depth"] = trial.suggest_int("depth", 1, 3)
    for i in range(found["depth"]):
        found[f"width{i}"] = trial.suggest_float(f"width{i}", 0.0, 1.0)
    return found


def _conditional_value(params: Params, epoch: int) -> float:
    if params["kind"] == "line":
        return rises(0.4 * params["slope"], epoch)
    widths = [params[f"width{i}"] for i in range(params["depth"])]
    return rises(1.0 - 0.1 * sum(abs(width - 0.3) for width in widths), epoch)


def _ranges_follow(trial: optuna.Trial) -> Params:
    n = trial.suggest_int("n", 1, 20)
    k = trial.suggest_int("k", 1, n)
    assert k <= n
    return {"n": n, "k": k, "x": trial.suggest_float("x", 0.0, float(n))}


def _ranges_follow_value(params: Params, epoch: int) -> float:
    off = abs(params["n"] - 12) + abs(params["k"] - 7) + params["x"]
    return rises(1.0 / (1.0 + off), epoch)


def _later(trial: optuna.Trial) -> Params:
    found = {"x": trial.suggest_float("x", 0.0, 1.0)}
    if trial.number >= 5:
        found["late"] = trial.suggest_float("late", 0.0, 1.0)
    return found


def _later_value(params: Params, epoch: int) -> float:
    return rises(1.0 - params["x"] - params.get("late", 1.0), epoch)


def _constant(trial: optuna.Trial) -> Params:
    return {"only": trial.suggest_categorical("only", ["one"]), "n": trial.suggest_int("n", 3, 3)}


LOOPS = {
    "plain": PLAIN,
    "a running best": Loop(_plain, lambda p, e: _plain_value(p, EPOCHS) if e > 4 else 0.1),
    "conditional": Loop(_conditional, _conditional_value),
    "ranges that follow from others": Loop(_ranges_follow, _ranges_follow_value),
    "a parameter that comes later": Loop(_later, _later_value),
}
BASELINES = {
    "nothing is searched": Loop(_constant, lambda params, epoch: rises(0.5, epoch)),
    "nothing is asked for": Loop(lambda trial: {}, lambda params, epoch: rises(0.5, epoch)),
}


def disagreements(db: Database) -> list[dict[int, str]]:
    replay = Replay(db, "s")
    plans = sorted({step.plan for step in replay.steps()})
    assert plans
    return [found for plan in plans if (found := replay.differences(plan))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_workers"), [("plain", 1), *((name, 2) for name in [*LOOPS, *BASELINES])]
)
def test_trials_pause_and_resume_whatever_they_ask_for(
    sqlite_database: Database, tmp_path: Path, name: str, n_workers: int
) -> None:
    trials = run(sqlite_database, spec(), (LOOPS | BASELINES)[name], tmp_path, n_workers)
    assert len(trials) == 16
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert any(trial.state is TrialState.COMPLETE for trial in trials)
    # Where nothing is searched, trials differ by their seeds alone.
    assert name in BASELINES or n_epochs(trials) < 16 * EPOCHS
    # A decision depends on the space as it was then, and can be made again.
    assert disagreements(sqlite_database) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "pruner"), [("tpe", "auto"), ("auto", "hyperband"), ("auto", "bohb")]
)
def test_halving_pauses_them_too(
    sqlite_database: Database, tmp_path: Path, sampler: str, pruner: str
) -> None:
    given = spec(sampler=sampler, pruner=pruner)
    trials = run(sqlite_database, given, LOOPS["conditional"], tmp_path, 2)
    assert n_epochs(trials) < 16 * EPOCHS
    assert any(trial.state is TrialState.COMPLETE for trial in trials)
    assert disagreements(sqlite_database) == []


def test_the_sampler_sees_paused_trials_as_pruned(
    sqlite_database: Database, tmp_path: Path
) -> None:
    studies.create_or_join(sqlite_database, spec(sampler="tpe"), None)
    worker = Worker(context_at(sqlite_database, "s", tmp_path), PLAIN)
    while len(worker.context.search.trials()) < 3:
        worker.turn()
    (last,) = worker.held
    study = worker.context.search.study_for(last)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    assert states == [TrialState.PRUNED, TrialState.PRUNED, TrialState.RUNNING]


def test_planned_points_reach_the_objective_from_the_second_trial_on(
    sqlite_database: Database, tmp_path: Path
) -> None:
    trials = run(sqlite_database, spec(), PLAIN, tmp_path)
    assert not planned_params(trials[0])
    for trial in trials[1:]:
        assert planned_params(trial) == trial.params


def test_the_space_is_what_the_objective_asks_for_not_what_its_file_says(
    sqlite_database: Database, tmp_path: Path
) -> None:
    declared = {"lr": {"low": 1.0, "high": 2.0}, "other": {"choices": [1, 2]}}
    trials = run(sqlite_database, spec(space=declared), PLAIN, tmp_path)
    assert all(trial.params.keys() == {"lr", "k"} for trial in trials)
    assert disagreements(sqlite_database) == []


def test_a_budget_of_all_epochs_is_exact(sqlite_database: Database, tmp_path: Path) -> None:
    budget = {"trials": None, "total_epochs": 70}
    trials = run(sqlite_database, spec(budget=budget), PLAIN, tmp_path, 2)
    assert n_epochs(trials) == 70
    assert any(trial.state is TrialState.COMPLETE for trial in trials)
    assert disagreements(sqlite_database) == []


def test_patience_ends_the_study(sqlite_database: Database, tmp_path: Path) -> None:
    flat = Loop(_plain, lambda params, epoch: rises(0.5, epoch))
    trials = run(sqlite_database, spec(budget={"trials": 60, "patience": 5}), flat, tmp_path)
    assert len(trials) < 20
    assert study_records.load(sqlite_database, "s").reason == "patience"


def test_enqueued_params_come_first_and_stay_as_they_are(
    sqlite_database: Database, tmp_path: Path
) -> None:
    studies.create_or_join(sqlite_database, spec(), None)
    study = optuna.load_study(study_name="s", storage=Storage(sqlite_database))
    study.enqueue_trial({"lr": 0.5, "k": 8})
    study.enqueue_trial({"k": 2})
    trials = run(sqlite_database, spec(), PLAIN, tmp_path)
    assert trials[0].params == {"lr": 0.5, "k": 8}
    assert trials[1].params["k"] == 2
    assert disagreements(sqlite_database) == []


@pytest.mark.parametrize(
    ("pruner", "resumable", "kind"),
    [
        ("auto", True, Scheduling),
        ("asha", True, Scheduling),
        ("median", True, SamplerAssigner),
        ({"name": "asha", "type": "stop"}, True, SamplerAssigner),
        ("auto", False, SamplerAssigner),
        ("asha", False, SamplerAssigner),
    ],
)
def test_trials_pause_if_they_can_and_the_pruner_does(
    sqlite_database: Database, tmp_path: Path, pruner: Any, resumable: bool, kind: type
) -> None:
    studies.create_or_join(sqlite_database, spec(pruner=pruner), None)
    context = context_at(sqlite_database, "s", tmp_path)
    assert type(make_assigner(context, resumable=resumable)) is kind
