"""The registry of workers."""

from __future__ import annotations

import os
import platform
import socket
from datetime import timedelta

import pytest

from hpo.errors import StoreError
from hpo.store.db.database import Database
from hpo.store.ledger import workers
from hpo.store.rows import worker_list
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration


def test_a_worker_is_registered_with_what_one_wants_to_know_of_it(database: Database) -> None:
    study_id = kit.new_study(database)
    worker_id = workers.register(database, study_id, "cuda:1")

    (row,) = worker_list.live(database, study_id)

    assert (row.worker_id, row.study_id, row.device) == (worker_id, study_id, "cuda:1")
    assert (row.host, row.pid, row.ended_at) == (socket.gethostname(), os.getpid(), None)
    assert row.versions["python"] == platform.python_version()
    assert "optuna" in row.versions
    with database.read() as conn:
        assert timedelta(0) <= database.now(conn) - row.started_at < timedelta(minutes=1)


def test_live_workers_are_those_heard_of(database: Database) -> None:
    one, two = kit.new_study(database, "one"), kit.new_study(database, "two")
    first, second = kit.new_worker(database, one), kit.new_worker(database, two)
    third = kit.new_worker(database, two)
    workers.retire(database, third)
    assert [row.worker_id for row in worker_list.live(database)] == [first, second]

    database.clock_offset = timedelta(seconds=50)
    assert kit.beat(database, second)
    database.clock_offset = timedelta(seconds=70)

    assert [row.worker_id for row in worker_list.live(database)] == [second]
    assert [row.worker_id for row in worker_list.live(database, grace_s=100)] == [first, second]
    assert worker_list.live(database, one) == []


def test_a_retired_worker_beats_no_more(database: Database) -> None:
    study_id = kit.new_study(database)
    worker_id = kit.new_worker(database, study_id)
    workers.retire(database, worker_id)
    workers.retire(database, worker_id)
    assert not kit.beat(database, worker_id)
    assert not kit.beat(database, 999)
    workers.retire(database, 999)


def test_no_worker_without_a_study(database: Database) -> None:
    with pytest.raises(StoreError, match="study 77 is no longer in"):
        workers.register(database, 77, "cpu")
