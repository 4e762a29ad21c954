"""Scheduling: what a worker claims as its scheduler plans, from a ledger that others use, too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import hpo
from hpo.run.assignment.assigner import AWAY
from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.run.assignment.scheduling import Scheduling, make_assigner
from hpo.run.link import retry
from hpo.run.link.context import WorkerContext
from hpo.run.trials.task_executor import TaskExecutor
from hpo.run.worker.worker_loop import Worker
from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.db.database import Database
from hpo.store.ledger.leases import Claim, Lease
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import decision_log
from hpo.store.studies import control, studies
from tests.kits import ledger_kit as kit
from tests.kits.chaos_worker import FormulaEngine
from tests.kits.contexts import context_at

pytestmark = pytest.mark.integration
PACKAGE = Path(hpo.__file__).parent
ASHA = {"name": "asha", "min_resource": 1, "reduction_factor": 2}


def worker(db: Database, folder: Path, pruner: Any = ASHA, sampler: str = "random") -> Any:
    """A worker of a new study, or of the one that there is."""
    spec = StudySpec(
        name="s",
        task="digits-mlp",
        metric="val_accuracy",
        budget={"trials": 6, "epochs": 4},
        space={"learning_rate": {"low": 0.1, "high": 1.0}},
        sampler={"name": sampler},
        pruner=pruner,
    )
    studies.create_or_join(db, spec, None)
    return context_at(db, "s", folder)


def scheduling(context: WorkerContext) -> Scheduling:
    found = make_assigner(context)
    assert isinstance(found, Scheduling)
    return found


def train(context: WorkerContext, lease: Lease, value: float) -> None:
    epochs = range(lease.epoch + 1, lease.epoch_stop + 1)
    assert context.ledger.report([kit.epoch_row(lease, e, value) for e in epochs]) == set()


def pause(context: WorkerContext, lease: Lease, value: float) -> None:
    train(context, lease, value)
    paused = kit.outcome(lease, "paused", epoch=lease.epoch_stop)
    assert context.ledger.settle([paused]) == set()


def steps(claim: Claim) -> list[tuple[int, int, int]]:
    return [(lease.number, lease.epoch, lease.epoch_stop) for lease in claim.leases]


def after_the_look(context: WorkerContext, happens: Callable[[], object]) -> None:
    """Has something happen between a worker's next look at its study and its claim."""
    ledger, claim = context.ledger, context.ledger.claim

    def late(*args: Any) -> Claim:
        ledger.claim = claim  # type: ignore[method-assign]
        happens()
        return claim(*args)

    ledger.claim = late  # type: ignore[method-assign, assignment]


def test_trials_pause_and_the_better_one_is_resumed(database: Database, tmp_path: Path) -> None:
    context = worker(database, tmp_path)
    assigner = scheduling(context)
    claim = assigner.claim(2, ())
    assert steps(claim) == [(0, 0, 1), (1, 0, 1)]
    params = assigner.params(claim.leases)
    stored = [context.search.known(lease.trial_id) for lease in claim.leases]
    assert [dict(one) for one in params] == stored
    worse, better = claim.leases
    values = {lease.trial_id: (lease, v) for lease, v in ((worse, 0.1), (better, 0.9))}
    assert assigner.to_pause(values) == set(values)
    pause(context, worse, 0.1)
    train(context, better, 0.9)
    # The one that is still a lane keeps its place.
    again = assigner.claim(2, {better.trial_id}, [better])
    assert steps(again) == [(1, 1, 2), (2, 0, 1)]
    assert again.leases[0].token == better.token
    assert assigner.params(again.leases)[0] == params[1]


def test_a_lane_that_was_cancelled_is_not_asked_for(database: Database, tmp_path: Path) -> None:
    context = worker(database, tmp_path)
    assigner = scheduling(context)
    first, second = assigner.claim(2, ()).leases
    assigner.params((first, second))
    for lease in (first, second):
        train(context, lease, 0.5)
    control.cancel(database, context.study.study_id, [first.number])
    held = {first.trial_id, second.trial_id}
    claim = assigner.claim(2, held, [first, second])
    assert first.number not in kit.numbers(claim.leases)
    assert len(claim.leases) == 2
    assert assigner.to_pause({first.trial_id: (first, 0.5)}) == set()


def test_a_worker_plans_again_if_another_was_faster(database: Database, tmp_path: Path) -> None:
    context, other = worker(database, tmp_path), worker(database, tmp_path)
    mine, others = scheduling(context), scheduling(other)
    for lease, value in zip(mine.claim(2, ()).leases, (0.1, 0.9), strict=True):
        mine.params([lease])
        pause(context, lease, value)
    after_the_look(context, lambda: others.claim(1, ()))
    # Both wanted to resume trial 1.
    claim = mine.claim(1, ())
    assert steps(claim) == [(2, 0, 1)]
    assert dict(mine.params(claim.leases)[0]) == context.search.known(claim.leases[0].trial_id)


def test_a_changed_budget_of_epochs_is_planned_with_at_once(
    database: Database, tmp_path: Path
) -> None:
    context = worker(database, tmp_path, pruner={"name": "asha", "reduction_factor": 2})
    assigner = scheduling(context)
    for lease, value in zip(assigner.claim(2, ()).leases, (0.1, 0.9), strict=True):
        assigner.params([lease])
        pause(context, lease, value)
    kit.set_budget(database, context.study.study_id, Budget(trials=2, epochs=16))
    stops = set()
    for _ in range(9):
        claim = assigner.claim(1, ())
        if not claim.leases:
            break
        pause(context, claim.leases[0], 0.9)
        stops.add(claim.leases[0].epoch_stop)
    assert max(stops) == 16


def test_a_worker_with_lanes_does_not_wait_for_the_database(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = worker(database, tmp_path)
    assigner = scheduling(context)
    (lease,) = assigner.claim(1, ()).leases
    monkeypatch.setattr(type(context.client), "is_down", property(lambda self: True))
    assert assigner.claim(1, {lease.trial_id}) is AWAY
    assert SamplerAssigner(context).claim(1, {lease.trial_id}) is AWAY


def test_after_an_empty_claim_a_lone_worker_trains_before_it_claims_again(
    database: Database, tmp_path: Path
) -> None:
    context = worker(database, tmp_path)
    kit.set_budget(database, context.study.study_id, Budget(trials=1, epochs=4))
    assigner = scheduling(context)
    (lease,) = assigner.claim(1, ()).leases
    assert assigner.wanted(3, 1) == 3
    assert assigner.claim(3, {lease.trial_id}).reason == "waiting"
    assert assigner.wanted(3, 1) == 0
    # Whenever it looks again, nothing has changed: the ledger is not even asked.
    after_the_look(context, lambda: pytest.fail("claimed in vain"))
    assert assigner.claim(3, {lease.trial_id}).leases == ()


def test_plans_are_recorded_with_the_trials_that_they_brought(
    database: Database, tmp_path: Path
) -> None:
    context = worker(database, tmp_path)
    assigner, study_id = scheduling(context), context.study.study_id
    leases = assigner.claim(2, ()).leases
    assert decision_log.newest(database, study_id) is None, "the params are not drawn yet"
    assigner.params(leases)
    assert decision_log.newest(database, study_id) is not None
    for lease in leases:
        pause(context, lease, 0.5)
    before = decision_log.newest(database, study_id)
    (resumed,) = assigner.claim(1, ()).leases
    assert not resumed.is_new
    assert decision_log.newest(database, study_id) != before


@pytest.mark.parametrize(
    ("sampler", "pruner", "kind", "pauses"),
    [
        ("random", "none", SamplerAssigner, False),
        ("random", "median", SamplerAssigner, False),
        ("random", "hyperband", Scheduling, True),
        ("auto", "none", Scheduling, False),
        ("auto", "auto", Scheduling, True),
    ],
)
def test_a_scheduler_assigns_where_trials_pause_or_the_model_proposes(
    sqlite_database: Database, tmp_path: Path, sampler: str, pruner: str, kind: type, pauses: bool
) -> None:
    found = make_assigner(worker(sqlite_database, tmp_path, {"name": pruner}, sampler))
    assert (type(found), found.pauses) == (kind, pauses)


def frames() -> list[str]:
    """The functions of hpo that this thread is in, from the outermost one on."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
            found.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return found[::-1]


def test_a_claim_is_a_short_way_from_the_loop_to_its_transaction(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = worker(sqlite_database, tmp_path)
    ways: set[tuple[str, ...]] = set()
    handed_over: list[str] = []
    submit, lock = retry._CallThread.submit, LockedStudy.lock

    def submitted(self: Any, call: Any) -> Any:
        handed_over[:] = frames()
        return submit(self, call)

    def locked(*args: Any) -> LockedStudy:
        way = [*handed_over, *frames()]
        if "Ledger.claim" in way:
            ways.add(tuple(way[way.index("Worker._refill") :]))
        return lock(*args)

    monkeypatch.setattr(retry._CallThread, "submit", submitted)
    monkeypatch.setattr(LockedStudy, "lock", locked)
    executor = TaskExecutor(context, FormulaEngine(), make_assigner(context))
    assert Worker(context, executor).run() == "exhausted"
    in_thread = ("_CallThread._run", "Ledger.claim", "Database.transaction")
    in_transaction = ("Database.transaction.<locals>.once", "Ledger.claim.<locals>.work")
    planned = ("Worker._refill", "TaskExecutor.claim", "Scheduling.claim")
    assert ways == {
        # With nothing to train it waits for the database, and for a connection.
        (
            *planned,
            *("DatabaseClient.call", "retry_while_crowded", "call_with_deadline"),
            *in_thread,
            *in_transaction,
        ),
        (
            *planned,
            *("DatabaseClient.try_call", "call_with_deadline"),
            *in_thread,
            *in_transaction,
        ),
    }
