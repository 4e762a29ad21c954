"""Which files of a study go, and which stay."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from hpo.run.link.context import Post
from hpo.run.trials.artifact_gc import sweep
from hpo.store.db.database import Database
from hpo.store.ledger.leases import Lease
from hpo.store.studies import control
from hpo.train.loop import checkpoint
from tests.kits import ledger_kit as kit
from tests.kits.posts import post_at

pytestmark = pytest.mark.integration


@pytest.fixture
def post(sqlite_database: Database, tmp_path: Path) -> Post:
    kit.new_study(sqlite_database, trials=9)
    return post_at(sqlite_database, "s", tmp_path / "artifacts")


def _write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("bytes")
    return path


def _claim(post: Post, n: int) -> tuple[Lease, ...]:
    held = post.ledger.renew(post.worker_id).held
    return post.ledger.claim(post.study.study_id, post.worker_id, n, held).leases


def test_only_the_best_trials_model_stays(post: Post) -> None:
    leases = _claim(post, 3)
    for lease, value in zip(leases, (0.5, 0.75, 0.25), strict=True):
        _write(post.artifacts.model(lease.number))
        post.ledger.settle([kit.outcome(lease, values=(value,))])
    assert sweep(post)
    assert list(post.artifacts.of_trials()) == [post.artifacts.model(leases[1].number)]
    (better,) = _claim(post, 1)
    model = _write(post.artifacts.model(better.number))
    post.ledger.settle([kit.outcome(better, values=(0.875,))])
    assert sweep(post)
    assert list(post.artifacts.of_trials()) == [model]


def test_a_model_that_is_exported_and_not_settled_yet_stays(post: Post) -> None:
    done, exported = _claim(post, 2)
    post.ledger.settle([kit.outcome(done, values=(0.5,))])
    kept = {_write(post.artifacts.model(lease.number)) for lease in (done, exported)}
    assert sweep(post)
    assert set(post.artifacts.of_trials()) == kept
    post.ledger.settle([kit.outcome(exported, values=(0.75,))])
    assert sweep(post)
    assert list(post.artifacts.of_trials()) == [post.artifacts.model(exported.number)]


def test_checkpoints_of_cancelled_trials_go_and_those_to_go_on_from_stay(post: Post) -> None:
    cancelled, running, put_down = _claim(post, 3)
    files = [_write(post.artifacts.checkpoint(x.number)) for x in (cancelled, running, put_down)]
    post.ledger.settle([kit.outcome(put_down, "released")])
    control.cancel(post.db, post.study.study_id, [cancelled.number])
    assert sweep(post)
    assert set(post.artifacts.of_trials()) == set(files[1:])


def test_what_a_killed_worker_has_half_written_goes_once_its_trial_has_ended(post: Post) -> None:
    ended, running = _claim(post, 2)
    for lease in (ended, running):
        path = post.artifacts.checkpoint(lease.number)
        process = multiprocessing.get_context("fork").Process(
            target=_die_while_writing, args=[path]
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    left, written = (
        next(post.artifacts.folder.rglob(f".trial-{lease.number:06}.pt.*"))
        for lease in (ended, running)
    )
    post.ledger.settle([kit.outcome(ended, values=(0.5,))])
    assert sweep(post)
    # Another worker may go on with the other trial, and be writing this.
    assert (left.exists(), written.exists()) == (False, True)
    post.ledger.settle([kit.outcome(running, values=(0.25,))])
    assert sweep(post)
    assert not written.exists()


def _die_while_writing(path: Path) -> None:
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    checkpoint.write({"epoch": 1}, path)


def test_nothing_goes_while_the_database_is_away(post: Post) -> None:
    model = _write(post.artifacts.model(99))
    post.line.fail(TimeoutError("no answer"))
    assert not sweep(post)
    assert model.exists()
