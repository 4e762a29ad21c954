"""What must not end a worker: cancelled and deleted trials, faults of samplers and pruners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
import torch
from optuna.trial import TrialState
from torch import nn

import hpo
from hpo.run.assignment.assigner import Assigner
from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.run.assignment.scheduling import make_assigner
from hpo.run.link.context import WorkerContext
from hpo.run.link.retrying_storage import retrying
from hpo.run.trials.objective_executor import ObjectiveExecutor
from hpo.run.trials.search_errors import SearchFailed
from hpo.run.trials.task_executor import TaskExecutor
from hpo.run.worker.worker_loop import Worker
from hpo.search.optuna.study_search import Search
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.db.optuna_tables import trials
from hpo.store.optuna.storage import Storage
from hpo.store.studies import control, studies, study_records
from hpo.train.loop.solo import SoloEngine
from tests.kits import ledger_kit as kit
from tests.kits.contexts import context_at

pytestmark = pytest.mark.integration


class Points(hpo.Task):
    """Twelve points on a line."""

    metric, direction = "val_loss", "minimize"

    def data(self) -> hpo.Data:
        x = torch.linspace(0, 1, 12)[:, None]
        return hpo.Data.split(x, 2 * x)

    def model(self, params: Any) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))


def task_post(db: Database, folder: Path, sampler: str = "random", **more: Any) -> WorkerContext:
    spec = StudySpec(
        name="s",
        task="points.py:Points",
        metric="val_loss",
        direction="minimize",
        budget={"trials": 4, "epochs": 3},
        space={"learning_rate": {"low": 0.001, "high": 0.1}},
        sampler={"name": sampler},
        **{"pruner": {"name": "none"}, **more},
    )
    studies.create_or_join(db, spec, None)
    return context_at(db, "s", folder)


def task_executor(
    context: WorkerContext, assigner: Assigner | None = None, task: hpo.Task | None = None
) -> Any:
    task = task or Points()
    engine = SoloEngine(task, task.data().splits(), "val_loss", "minimize")
    return TaskExecutor(context, engine, assigner or make_assigner(context))


_OBJECTIVE: dict[str, Any] = {
    "name": "s",
    "objective": "o.py:f",
    "budget": {"trials": 6},
    "sampler": {"name": "random"},
    "pruner": {"name": "none"},
}


def objective_post(db: Database, folder: Path, **more: Any) -> WorkerContext:
    spec = StudySpec(**{**_OBJECTIVE, **more})
    studies.create_or_join(db, spec, None)
    context = context_at(db, "s", folder)
    context.search = Search(spec, retrying(Storage(db), context.client, context.watchdog))
    return context


def states(context: WorkerContext) -> list[str]:
    query = sa.select(trials.c.state).order_by(trials.c.number)
    with context.db.read() as conn:
        return [state.name for state in conn.scalars(query)]


def kinds(context: WorkerContext) -> list[str]:
    return [event.kind for event in reversed(kit.recent_events(context.db, context.study.study_id))]


class Meanwhile:
    """Assigns as another does, after something has happened since the claim."""

    def __init__(self, assigner: Assigner, happens: Callable[[], object]) -> None:
        self._assigner, self._happens = assigner, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._assigner, name)

    def params(self, leases: Sequence[Any]) -> Any:
        happens, self._happens = self._happens, lambda: None
        happens()
        return self._assigner.params(leases)


def cancelled(context: WorkerContext) -> None:
    assert control.cancel(context.db, context.study.study_id) == [0]


def taken_over_and_ended(context: WorkerContext) -> None:
    """As a worker finds it that was frozen for an hour."""
    study_id = context.study.study_id
    (trial_id,) = context.ledger.renew(context.worker_id).held
    with context.db.write() as conn:
        conn.execute(sa.update(hpo_lease).values(worker_id=None, token=0))
    other = kit.new_worker(context.db, study_id)
    (lease,) = context.ledger.claim(study_id, other, 1).leases
    assert lease.trial_id == trial_id
    context.ledger.settle([kit.outcome(lease)])


@pytest.mark.parametrize("happens", [cancelled, taken_over_and_ended])
@pytest.mark.parametrize("sampler", ["random", "auto", "tpe"])
def test_a_trial_that_is_lost_between_its_claim_and_its_params_costs_nothing_else(
    database: Database, tmp_path: Path, sampler: str, happens: Callable[[WorkerContext], None]
) -> None:
    context = task_post(database, tmp_path, sampler)
    assigner = make_assigner(context)
    executor = task_executor(context, Meanwhile(assigner, lambda: happens(context)))
    assert Worker(context, executor).run() == "exhausted"
    found = states(context)
    first = "FAIL" if happens is cancelled else "COMPLETE"
    assert found[0] == first
    assert found.count("COMPLETE") == 4
    assert executor.held == frozenset()


def test_a_lane_that_is_cancelled_while_it_trains_is_dropped(
    database: Database, tmp_path: Path
) -> None:
    context = task_post(database, tmp_path)
    executor = task_executor(context)
    executor.begin(executor.claim().leases)
    executor.work()
    cancelled(context)
    for _ in range(3):
        if executor.held:
            executor.work()
    assert executor.held == frozenset()
    assert states(context) == ["FAIL"]


@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_an_objective_whose_trial_is_cancelled_or_deleted_ends_unheard(
    database: Database, tmp_path: Path, verb: str
) -> None:
    context = objective_post(database, tmp_path)
    numbers = []

    def objective(trial: optuna.Trial) -> float:
        numbers.append(trial.number)
        if len(numbers) == 1:
            if verb == "cancel":
                cancelled(context)
            else:
                with context.db.write() as conn:
                    conn.execute(sa.delete(trials).where(trials.c.trial_id == trial._trial_id))
        return trial.suggest_float("x", 0, 1)

    assert Worker(context, ObjectiveExecutor(context, objective)).run() == "exhausted"
    assert states(context).count("COMPLETE") == 6
    assert "user_code" not in kinds(context)


def test_an_objective_may_swallow_what_it_is_told(database: Database, tmp_path: Path) -> None:
    context = objective_post(database, tmp_path)

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 0:
            cancelled(context)
        try:
            return trial.suggest_float("x", 0, 1)
        except Exception:  # noqa: BLE001 - so do users
            return 1.0

    Worker(context, ObjectiveExecutor(context, objective)).run()
    assert states(context) == ["FAIL", *["COMPLETE"] * 6]
    assert kinds(context)[0] == "cancelled"


def test_a_sampler_that_raises_stops_the_study_and_no_trial_is_to_blame(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = objective_post(sqlite_database, tmp_path, sampler={"name": "cmaes"})
    # Its own line fails now, as soon as it has what it learns from.
    monkeypatch.setattr("hpo.search.optuna.cma_sampler.np", None)

    def objective(trial: optuna.Trial) -> float:
        try:
            return trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1)
        except Exception:  # noqa: BLE001 - users catch whatever comes
            return 1.0

    with pytest.raises(
        SearchFailed, match=r"the sampler cmaes failed: .* at hpo/search/optuna/cma_sampler\.py:"
    ):
        Worker(context, ObjectiveExecutor(context, objective)).run()
    record = study_records.load(context.db, "s")
    assert record.state == "stopped"
    assert "please report it" in (record.reason or "")
    assert "user_code" not in kinds(context)
    assert "internal" in kinds(context)
    assert "FAIL" not in states(context)
    assert context.ledger.renew(context.worker_id).held == frozenset()


def test_a_sampler_of_a_task_that_raises_stops_the_study(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = task_post(sqlite_database, tmp_path, "tpe")
    executor = task_executor(context)
    monkeypatch.setattr("hpo.search.optuna.study_search.draw", None)
    with pytest.raises(SearchFailed, match="the sampler tpe failed: TypeError"):
        Worker(context, executor).run()
    assert study_records.load(context.db, "s").state == "stopped"
    assert states(context) == ["RUNNING"]
    assert kinds(context)[-2:] == ["internal", "stopped"] or "internal" in kinds(context)
    assert executor.held == frozenset()


@pytest.mark.parametrize("kind", ["task", "objective"])
def test_a_pruner_that_raises_lets_trials_go_on_and_is_told_once(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # ASHA's own line fails at its first rung.
    monkeypatch.setattr("hpo.search.optuna.pruners.math", None)
    pruner = {"name": "asha", "min_resource": 1, "reduction_factor": 2}
    said: list[str] = []
    if kind == "task":
        context = task_post(sqlite_database, tmp_path, pruner=pruner)
        executor: Any = task_executor(context, SamplerAssigner(context))
    else:
        context = objective_post(sqlite_database, tmp_path, pruner=pruner)

        def objective(trial: optuna.Trial) -> float:
            x = trial.suggest_float("x", 0, 1)
            for step in range(1, 4):
                trial.report(x + step, step)
                assert trial.should_prune() is False
            return x

        executor = ObjectiveExecutor(context, objective)
    context.notify = said.append
    assert Worker(context, executor).run() == "exhausted"
    assert set(states(context)) == {"COMPLETE"}
    (text,) = said
    assert text.startswith("the pruner asha failed, so trials continue without it: ")
    assert "at hpo/search/optuna/pruners.py:" in text
    assert kinds(context).count("internal") == 1


def test_faults_of_hpo_never_stop_a_study(database: Database, tmp_path: Path) -> None:
    study_id = kit.new_study(database, trials=20)
    worker_id = kit.new_worker(database, study_id)
    context = context_at(database, "s", tmp_path)
    for reason, state in (("internal", "active"), ("user_code", "stopped")):
        for _ in range(6):
            (lease,) = context.ledger.claim(study_id, worker_id, 1).leases or [None]
            if lease is not None:
                context.ledger.settle([kit.outcome(lease, "failed", reason=reason)])
        assert study_records.load(database, "s").state == state


@pytest.mark.parametrize("error", [SystemExit("too small"), GeneratorExit(), MemoryError()])
@pytest.mark.parametrize("place", ["model", "loss", "metrics", "test"])
@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_whatever_a_task_raises_ends_its_trial_only(
    sqlite_database: Database, tmp_path: Path, error: BaseException, place: str, engine: str
) -> None:
    class Raises(Points):
        n_models = 0

        def data(self) -> hpo.Data:
            x = torch.linspace(0, 1, 12)[:, None]
            return hpo.Data.split(x, 2 * x, test=(x[:5], 2 * x[:5]))

        def model(self, params: Any) -> nn.Module:
            type(self).n_models += 1
            if place == "model" and params.learning_rate > 0.05:
                raise error
            return nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))

        def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            if place == "loss":
                raise error
            return nn.functional.mse_loss(outputs, targets)

        def metrics(self, outputs: torch.Tensor, targets: torch.Tensor) -> Any:
            if place == "metrics" or (place == "test" and len(targets) == 5):
                raise error
            return {"mae": (outputs - targets).abs().mean()}

    context = task_post(sqlite_database, tmp_path)
    task = Raises()
    if engine == "solo":
        executor = task_executor(context, SamplerAssigner(context), task)
    else:
        from hpo.train.fused.fused_engine import FusedEngine

        fused = FusedEngine(task, task.data().splits(), "val_loss", "minimize")
        executor = TaskExecutor(context, fused, SamplerAssigner(context))
    assert Worker(context, executor).run() == "exhausted"
    failed = {e.kind for e in kit.recent_events(context.db, context.study.study_id) if e.trial_id}
    assert failed == {"oom" if isinstance(error, MemoryError) else "user_code"}
    assert "FAIL" in states(context)
    assert (place == "model") == ("COMPLETE" in states(context))


def test_an_objective_that_stops_its_study_is_the_last_to_begin(
    database: Database, tmp_path: Path
) -> None:
    context = objective_post(database, tmp_path)

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 2:
            trial.study.stop()
        return trial.suggest_float("x", 0, 1)

    assert Worker(context, ObjectiveExecutor(context, objective)).run() == "exhausted"
    assert states(context) == ["COMPLETE"] * 3
    record = study_records.load(database, "s")
    assert (record.state, record.reason) == ("done", "study.stop")
    # Others that are at work come to their end, as under Optuna.
    assert context.ending == ""


def test_the_number_of_values_is_told_at_the_first_trial_and_can_be_mended(
    database: Database, tmp_path: Path
) -> None:
    context = objective_post(database, tmp_path)
    Worker(context, ObjectiveExecutor(context, lambda trial: (1.0, 2.0))).run()
    record = study_records.load(database, "s")
    assert (record.state, states(context)) == ("stopped", ["FAIL"])
    assert "--direction minimize --direction maximize" in (record.reason or "")
    spec = StudySpec(**{**_OBJECTIVE, "direction": ["minimize", "maximize"]})
    again, created = studies.create_or_join(database, spec, None)
    assert created
    assert (again.state, again.spec.directions) == ("active", ("minimize", "maximize"))
    assert states(context) == []
    # One that has results is not thrown away.
    context = context_at(database, "s", tmp_path)
    Worker(context, ObjectiveExecutor(context, lambda trial: (1.0, 2.0))).run()
    assert set(states(context)) == {"COMPLETE"}
    with pytest.raises(hpo.errors.SpecError, match="another study called s"):
        studies.create_or_join(database, record.spec, None)


def test_values_that_no_database_takes_fail_their_trial(database: Database, tmp_path: Path) -> None:
    context = objective_post(database, tmp_path)
    bad: list[Callable[[optuna.Trial], Any]] = [
        lambda trial: trial.set_user_attr("a\ud800", 1),
        lambda trial: trial.set_user_attr("a" * 600, 1),
        lambda trial: trial.report(1.0, 2**70),
        lambda trial: trial.set_user_attr("a", torch.ones(2)),
        lambda trial: trial.study.set_user_attr("a", torch.ones(2)),
    ]

    def objective(trial: optuna.Trial) -> float:
        if trial.number < len(bad):
            bad[trial.number](trial)
        return 1.0

    executor = ObjectiveExecutor(context, objective)
    for _ in range(6):
        executor.begin(executor.claim().leases)
        if executor.held:
            executor.work()
    found = states(context)
    # SQLite has no longest text.
    may_take = {1} if database.dialect == "sqlite" else set()
    assert [s for i, s in enumerate(found[:5]) if i not in may_take] == ["FAIL"] * (
        5 - len(may_take)
    )
    assert set(kinds(context)) <= {"user_code", "stopped"}
    assert not context.client.is_down
    assert TrialState.FAIL.name in found
