"""Which files of a study go, and which stay."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from hpo.run.link.context import WorkerContext
from hpo.run.trials.artifact_gc import sweep
from hpo.store.db.database import Database
from hpo.store.ledger.leases import Lease
from hpo.store.studies import control
from hpo.train.loop import checkpoint
from tests.kits import ledger_kit as kit
from tests.kits.contexts import context_at

pytestmark = pytest.mark.integration


@pytest.fixture
def context(sqlite_database: Database, tmp_path: Path) -> WorkerContext:
    kit.new_study(sqlite_database, trials=9)
    return context_at(sqlite_database, "s", tmp_path / "artifacts")


def _write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("bytes")
    return path


def _claim(context: WorkerContext, n: int) -> tuple[Lease, ...]:
    held = context.ledger.renew(context.worker_id).held
    return context.ledger.claim(context.study.study_id, context.worker_id, n, held).leases


def test_only_the_best_trials_model_stays(context: WorkerContext) -> None:
    leases = _claim(context, 3)
    for lease, value in zip(leases, (0.5, 0.75, 0.25), strict=True):
        _write(context.artifacts.model(lease.number))
        context.ledger.settle([kit.outcome(lease, values=(value,))])
    assert sweep(context)
    assert list(context.artifacts.of_trials()) == [context.artifacts.model(leases[1].number)]
    (better,) = _claim(context, 1)
    model = _write(context.artifacts.model(better.number))
    context.ledger.settle([kit.outcome(better, values=(0.875,))])
    assert sweep(context)
    assert list(context.artifacts.of_trials()) == [model]


def test_a_model_that_is_exported_and_not_settled_yet_stays(context: WorkerContext) -> None:
    done, exported = _claim(context, 2)
    context.ledger.settle([kit.outcome(done, values=(0.5,))])
    kept = {_write(context.artifacts.model(lease.number)) for lease in (done, exported)}
    assert sweep(context)
    assert set(context.artifacts.of_trials()) == kept
    context.ledger.settle([kit.outcome(exported, values=(0.75,))])
    assert sweep(context)
    assert list(context.artifacts.of_trials()) == [context.artifacts.model(exported.number)]


def test_checkpoints_of_cancelled_trials_go_and_those_to_go_on_from_stay(
    context: WorkerContext,
) -> None:
    cancelled, running, put_down = _claim(context, 3)
    files = [_write(context.artifacts.checkpoint(x.number)) for x in (cancelled, running, put_down)]
    context.ledger.settle([kit.outcome(put_down, "released")])
    control.cancel(context.db, context.study.study_id, [cancelled.number])
    assert sweep(context)
    assert set(context.artifacts.of_trials()) == set(files[1:])


def test_what_a_killed_worker_has_half_written_goes_once_its_trial_has_ended(
    context: WorkerContext,
) -> None:
    ended, running = _claim(context, 2)
    for lease in (ended, running):
        path = context.artifacts.checkpoint(lease.number)
        process = multiprocessing.get_context("fork").Process(
            target=_die_while_writing, args=[path]
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    left, written = (
        next(context.artifacts.folder.rglob(f".trial-{lease.number:06}.pt.*"))
        for lease in (ended, running)
    )
    context.ledger.settle([kit.outcome(ended, values=(0.5,))])
    assert sweep(context)
    # Another worker may continue the other trial, and be writing this.
    assert (left.exists(), written.exists()) == (False, True)
    context.ledger.settle([kit.outcome(running, values=(0.25,))])
    assert sweep(context)
    assert not written.exists()


def _die_while_writing(path: Path) -> None:
    os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
    checkpoint.write({"epoch": 1}, path)


def test_nothing_goes_while_the_database_is_away(context: WorkerContext) -> None:
    model = _write(context.artifacts.model(99))
    context.client.note_failure(TimeoutError("no answer"))
    assert not sweep(context)
    assert model.exists()
