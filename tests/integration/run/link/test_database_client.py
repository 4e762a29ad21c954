"""A database that goes away and comes back: nothing is lost, nothing is written twice."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.run.link import database_client as client_module
from hpo.run.link import retry as retry_module
from hpo.run.link.database_client import DatabaseClient
from hpo.run.link.retry import Stopped
from hpo.run.link.watchdog import Watchdog
from hpo.run.worker.worker_loop import Heartbeat
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import outbox
from hpo.store.ledger.leases import Lease
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import worker_list
from tests.conftest import GetServer, servers
from tests.kits import ledger_kit as kit
from tests.kits.outages import Outage, outage_of
from tests.kits.servers import Server

pytestmark = pytest.mark.integration
KINDS = (
    ("sqlite", "locked"),
    ("sqlite", "full"),
    ("postgresql", "stopped"),
    ("postgresql", "cut"),
    ("mysql", "stopped"),
    ("mysql", "cut"),
)
# More than fits into a page of SQLite.
MANY = {f"metric_{i}": i / 7 for i in range(500)}


@pytest.fixture(scope="module")
def own_server_of() -> Iterator[GetServer]:
    """Servers that these tests may stop: nobody else uses them."""
    with servers() as get:
        yield get


@pytest.fixture(params=KINDS, ids="-".join)
def outage(
    request: pytest.FixtureRequest, own_server_of: GetServer, tmp_path: Path
) -> Iterator[Outage]:
    dialect, kind = request.param
    server = None if dialect == "sqlite" else own_server_of(dialect)
    with outage_of(kind, tmp_path, server) as found:
        yield found


@pytest.fixture(autouse=True)
def haste(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short limits, and spools of this test's own."""
    monkeypatch.setenv("HPO_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setattr(client_module, "DEADLINE_S", 1.0)
    monkeypatch.setattr(retry_module, "LONGEST_PAUSE_S", 0.5)


class Context:
    """A worker's client of its database, with its leases."""

    def __init__(self, db: Database, n_trials: int = 2, study_id: int | None = None) -> None:
        self.db = db
        self.study_id = study_id or kit.new_study(db, trials=n_trials)
        self.ledger = Ledger(db)
        self.worker_id = kit.new_worker(db, self.study_id)
        self.stop = threading.Event()
        self.client = DatabaseClient(db, self.ledger, self.study_id, self.worker_id, self.stop)
        self.leases = self.ledger.claim(self.study_id, self.worker_id, n_trials).leases
        self.held = frozenset(lease.trial_id for lease in self.leases)
        self.ending = ""
        self.trial_s: float | None = None
        self.watchdog = Watchdog()
        self.usage = None

    def report(self, lease: Lease, *epochs: int) -> set[int]:
        rows = [kit.epoch_row(lease, epoch) for epoch in epochs]
        return self.client.report([replace(row, metrics=MANY) for row in rows])

    @property
    def spools(self) -> list[Path]:
        return outbox.files_in(outbox.folder_of(self.db.url, self.study_id))

    def events(self) -> list[str]:
        found = kit.recent_events(self.db, self.study_id)
        return [event.message for event in found if event.kind == "outage"]


def _until(condition: Callable[[], object], limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_written_in_an_outage_arrives_once_and_in_order(
    outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="hpo.run")
    context = Context(outage.db)
    one, two = context.leases
    assert context.report(one, 1) == set()
    outage.begin()
    began_s = time.monotonic()
    for epoch in (2, 3):
        assert context.report(one, epoch) == set()
    assert context.client.settle([kit.outcome(one)]) == set()
    assert context.report(two, 1) == set()
    assert context.client.try_call(lambda: True, default=False) is False
    assert time.monotonic() - began_s < 5.0
    (kept,) = context.spools
    assert len(outbox.read(kept).records) == 4
    time.sleep(1.0)
    outage.end()

    assert context.client.call(lambda: "there") == "there"
    assert context.spools == []
    assert kit.epochs_of(context.db, one.trial_id) == [1, 2, 3]
    assert sorted(kit.steps_of(context.db, one.trial_id)) == [1, 2, 3]
    assert kit.values_of(context.db, one.trial_id) == [0.5]
    assert kit.epochs_of(context.db, two.trial_id) == [1]
    assert kit.states(context.db, context.study_id) == ["COMPLETE", "RUNNING"]
    assert context.client.lost == set()
    assert context.report(two, 2) == set()
    assert kit.epochs_of(context.db, two.trial_id) == [1, 2]
    (message,) = context.events()
    assert message.endswith("wrote 4 records that were kept")
    told = [(record.levelname, record.message) for record in caplog.records]
    assert [level for level, _ in told] == ["WARNING", "INFO"]
    assert "is away" in told[0][1]
    assert "wrote 4 records" in told[1][1]


def test_the_heart_goes_on_beating_after_an_outage(outage: Outage) -> None:
    context = Context(outage.db)
    heartbeat = Heartbeat(context, context, 0.1, pytest.fail)  # type: ignore[arg-type]
    heartbeat.start()
    outage.begin()
    context.report(context.leases[0], 1)
    _until(lambda: context.client.is_down)
    outage.end()
    _until(lambda: not context.client.is_down)
    before = worker_list.live(context.db)[0].heartbeat_at
    _until(lambda: worker_list.live(context.db)[0].heartbeat_at > before)
    heartbeat.end()
    assert not heartbeat.is_alive()
    assert context.client.lost == set()


def test_a_worker_that_is_told_to_leave_in_an_outage_leaves_at_once(outage: Outage) -> None:
    context = Context(outage.db)
    outage.begin()
    context.report(context.leases[0], 1)
    threading.Timer(0.5, context.stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(Stopped):
        context.client.call(
            lambda: context.ledger.claim(context.study_id, context.worker_id, 1, context.held)
        )
    context.client.settle([kit.outcome(lease, "released") for lease in context.leases])
    assert time.monotonic() - began_s < 5.0
    assert [len(outbox.read(path).records) for path in context.spools] == [3]
    outage.end()
    _until(lambda: not context.client.is_down)
    assert {row.worker_id for row in kit.lease_rows(context.db, context.study_id)} == {None}


@pytest.fixture
def stoppable(own_server_of: GetServer, tmp_path: Path) -> Iterator[Outage]:
    with outage_of("stopped", tmp_path, own_server_of("postgresql")) as found:
        yield found


def test_what_was_given_to_others_meanwhile_is_dropped(stoppable: Outage) -> None:
    context = Context(stoppable.db)
    one, two = context.leases
    with context.db.write() as conn:
        # Somebody who takes this worker for dead is faster than its mender.
        conn.execute(sa.text(f"UPDATE hpo_lease SET token = 5 WHERE trial_id = {one.trial_id}"))
    stoppable.begin()
    context.report(one, 1)
    context.report(two, 1)
    stoppable.end()
    _until(lambda: not context.client.is_down)
    assert kit.epochs_of(context.db, one.trial_id) == []
    assert kit.epochs_of(context.db, two.trial_id) == [1]
    assert context.client.lost == {one.trial_id}


def test_a_password_that_was_changed_is_no_outage(
    stoppable: Outage, own_server_of: GetServer
) -> None:
    server, context = own_server_of("postgresql"), Context(stoppable.db)
    server.execute("CREATE USER tmp SUPERUSER PASSWORD 'x'", "ALTER USER hpo PASSWORD 'other'")
    try:
        _end_sessions(context.db)
        with pytest.raises(StoreError, match="refused user and password"):
            context.report(context.leases[0], 1)
        with pytest.raises(StoreError, match="refused user and password"):
            context.client.call(lambda: True)
        assert [len(outbox.read(path).records) for path in context.spools] == [1]
    finally:
        _restore_password(server)


def _end_sessions(db: Database) -> None:
    with db.engine.connect() as conn, pytest.raises(sa.exc.OperationalError):
        conn.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity")


def _restore_password(server: Server) -> None:
    url = sa.make_url(server.url("postgres")).set(
        drivername="postgresql+psycopg", username="tmp", password="x"
    )
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as conn:
        quoted = sa.make_url(server.url("postgres")).password
        conn.exec_driver_sql(f"ALTER USER hpo PASSWORD '{quoted}'")
    server.execute("DROP USER tmp")


def test_a_missing_table_is_no_outage_and_what_was_not_written_is_kept(
    sqlite_database: Database,
) -> None:
    context = Context(sqlite_database)
    with context.db.write() as conn:
        conn.execute(sa.text("ALTER TABLE hpo_epoch RENAME TO gone"))
    with pytest.raises(StoreError, match="table is missing"):
        context.report(context.leases[0], 1)
    assert [len(outbox.read(path).records) for path in context.spools] == [1]


def test_without_a_disk_for_the_spool_memory_serves(
    stoppable: Outage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPO_SPOOL", str(tmp_path / "file"))
    context = Context(stoppable.db)
    stoppable.begin()
    context.report(context.leases[0], 1)
    context.report(context.leases[0], 2)
    stoppable.end()
    _until(lambda: not context.client.is_down)
    assert kit.epochs_of(context.db, context.leases[0].trial_id) == [1, 2]


def _spool_and_die(url: str, study_id: int, ready: str) -> None:
    retry_module.LONGEST_PAUSE_S = 60.0
    context = Context(open_database(url), 2, study_id)
    (lease, other) = context.leases
    context.client.note_failure(ConnectionError("away"))
    context.report(lease, 1, 2, 3)
    context.client.settle([kit.outcome(lease)])
    context.report(other, 1)
    Path(ready).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def _adopt(url: str, study_id: int, start: str) -> int:
    db = open_database(url)
    while not Path(start).exists():
        time.sleep(0.001)
    return outbox.adopt(db, study_id)


def test_of_two_that_adopt_the_spool_of_a_killed_worker_one_does(
    database_url: str, tmp_path: Path
) -> None:
    db = open_database(database_url, create=True)
    study_id = kit.new_study(db, trials=2)
    context = multiprocessing.get_context("forkserver")
    process = context.Process(
        target=_spool_and_die, args=(db.url, study_id, str(tmp_path / "ready"))
    )
    process.start()
    process.join(60)
    process.close()
    assert (tmp_path / "ready").exists()
    with context.Pool(2) as pool:
        answers = pool.starmap_async(_adopt, [(db.url, study_id, str(tmp_path / "start"))] * 2)
        time.sleep(0.5)
        (tmp_path / "start").touch()
        assert sorted(answers.get(60)) == [0, 5]

    one, two = sorted(kit.trial_ids(db, study_id))
    assert kit.epochs_of(db, one) == [1, 2, 3]
    assert kit.epochs_of(db, two) == [1]
    assert kit.states(db, study_id) == ["COMPLETE", "RUNNING"]
    assert outbox.files_in(outbox.folder_of(db.url, study_id)) == []
    (event,) = (e for e in kit.recent_events(db, study_id) if e.kind == "outage")
    assert event.message.startswith("wrote 5 records")
    db.dispose()


def test_a_living_workers_spool_is_left_alone(sqlite_database: Database) -> None:
    context = Context(sqlite_database)
    context.client.note_failure(ConnectionError("away"))
    with context.db.write():
        # The line cannot be mended meanwhile.
        context.report(context.leases[0], 1)
        assert outbox.adopt(context.db, context.study_id) == 0
        assert len(context.spools) == 1
    _until(lambda: not context.client.is_down)
    assert kit.epochs_of(context.db, context.leases[0].trial_id) == [1]
