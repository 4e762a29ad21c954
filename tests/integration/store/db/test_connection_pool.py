"""A server has few connections: a worker has one, and waits for it where none is free."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from hpo.run.link.context import WorkerContext
from hpo.run.link.database_client import DatabaseClient
from hpo.run.link.retry import retry
from hpo.run.worker.worker_loop import Heartbeat
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import outbox, workers
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import study_records
from tests.conftest import start_server
from tests.kits import ledger_kit as kit
from tests.kits.servers import MariaDB, PostgreSQL, Server

pytestmark = pytest.mark.integration
N_EPOCHS = 3
BEAT_S = 0.2


@pytest.fixture(autouse=True)
def own_spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_SPOOL", str(tmp_path / "spool"))


class Crowd:
    """Workers with all that a worker's process has but a task: each a thread with its own pool."""

    def __init__(self, url: str, n_workers: int, n_trials: int, *, at_once: bool) -> None:
        self.url = url
        self.db = open_database(url, create=True)
        self.study_id = kit.new_study(self.db, trials=n_trials, epochs=N_EPOCHS)
        self.told: list[str] = []
        self.errors: list[BaseException] = []
        self.n_connections = 0
        self._all_in = threading.Barrier(n_workers, self._count) if at_once else None
        self._threads = [threading.Thread(target=self._try) for _ in range(n_workers)]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def assert_whole(self, n_trials: int) -> None:
        """No worker has noticed an outage, or lost anything."""
        assert self.errors == []
        assert kit.states(self.db, self.study_id) == ["COMPLETE"] * n_trials
        for trial_id in kit.trial_ids(self.db, self.study_id):
            assert kit.epochs_of(self.db, trial_id) == [1, 2, 3]
        kinds = {event.kind for event in kit.recent_events(self.db, self.study_id)}
        assert kinds.isdisjoint({"outage", "lost"})
        assert outbox.files_in(outbox.folder_of(self.url, self.study_id)) == []

    def _count(self) -> None:
        ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        with self.db.read() as conn:
            self.n_connections = int(conn.exec_driver_sql(ours).scalar_one())

    def _try(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - the test tells
            self.errors.append(error)

    def _enter(self) -> tuple[Database, int]:
        db = open_database(self.url)
        try:
            return db, workers.register(db, self.study_id, "cpu")
        except BaseException:
            db.dispose()
            raise

    def _work(self) -> None:
        stop, tell = threading.Event(), self.told.append
        db, worker_id = retry(Database(self.url), self._enter, stop, tell)
        ledger = Ledger(db)
        client = DatabaseClient(db, ledger, self.study_id, worker_id, stop, tell)
        executor = SimpleNamespace(held=frozenset(), usage=None)
        study = study_records.load(db, "s")
        unused: Any = None
        context = WorkerContext(db, study, ledger, unused, worker_id, unused, client, stop)
        heartbeat = Heartbeat(context, executor, BEAT_S, self.told.append)
        heartbeat.start()
        is_first = True
        while True:
            claim = client.call(lambda: ledger.claim(self.study_id, worker_id, 1))
            if is_first and self._all_in is not None:
                self._all_in.wait(60)
            is_first = False
            if claim.exhausted:
                break
            for lease in claim.leases:
                for epoch in range(1, N_EPOCHS + 1):
                    assert client.report([kit.epoch_row(lease, epoch)]) == set()
                assert client.settle([kit.outcome(lease)]) == set()
        heartbeat.end()
        workers.retire(db, worker_id)
        db.dispose()


@pytest.fixture
def postgresql() -> Iterator[PostgreSQL]:
    server = start_server("postgresql")
    assert isinstance(server, PostgreSQL)
    yield server
    server.remove()


@pytest.mark.timeout(200)
def test_sixty_workers_on_a_server_with_a_hundred_connections(
    postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    crowd = Crowd(postgresql.create_database("hpo_crowd"), 60, 120, at_once=True)
    crowd.run()
    crowd.assert_whole(120)
    assert crowd.told == []
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
    # One each, and the test's own.
    assert crowd.n_connections == 61
    crowd.db.dispose()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_more_workers_than_connections_wait_for_them(dialect: str) -> None:
    server: Server = start_server(dialect)
    try:
        url = server.create_database("hpo_crowd")
        if isinstance(server, PostgreSQL):
            server.stop()
            server.max_connections = 10
            server.start()
        elif isinstance(server, MariaDB):
            server.execute("SET GLOBAL max_connections = 10")
        crowd = Crowd(url, 16, 30, at_once=False)
        # Another process has most of them for a while.
        engine = server._engine("hpo_crowd")
        others = [engine.connect() for _ in range(7)]

        def leave() -> None:
            for other in others:
                other.close()

        threading.Timer(2.0, leave).start()
        crowd.run()
        crowd.assert_whole(30)
        assert {text for text in crowd.told if text}
        assert all("too many connections" in text for text in crowd.told if text)
        assert all("max_connections" in text for text in crowd.told if text)
        crowd.db.dispose()
    finally:
        server.remove()


def test_a_worker_that_loses_its_connection_to_others_waits(postgresql: PostgreSQL) -> None:
    """What it reports meanwhile is neither kept nor lost: the report takes until there is one."""
    url = postgresql.create_database("hpo_crowd")
    role = "CREATE ROLE lab LOGIN PASSWORD 'x' SUPERUSER"
    postgresql.execute(role)
    told: list[str] = []
    db = open_database(url, create=True)
    study_id = kit.new_study(db, trials=1, epochs=N_EPOCHS)
    own = open_database(sa.make_url(url).set(username="lab", password="x").render_as_string(False))
    ledger, worker_id = Ledger(own), workers.register(own, study_id, "cpu")
    client = DatabaseClient(own, ledger, study_id, worker_id, threading.Event(), told.append)
    (lease,) = ledger.claim(study_id, worker_id, 1).leases
    postgresql.execute("ALTER ROLE lab NOSUPERUSER", "ALTER ROLE lab CONNECTION LIMIT 0")
    own.drop_sessions()
    allow = ("ALTER ROLE lab SUPERUSER", "ALTER ROLE lab CONNECTION LIMIT -1")
    timer = threading.Timer(1.0, lambda: postgresql.execute(*allow))
    timer.start()
    assert client.report([kit.epoch_row(lease, 1)]) == set()
    timer.join()
    assert not client.is_down
    assert kit.epochs_of(db, lease.trial_id) == [1]
    assert "raise its connection limit" in told[0]
    assert told[1:] == [""]
    assert [e.kind for e in kit.recent_events(db, study_id)] == []
    own.dispose()
    db.dispose()


def test_a_session_that_began_read_only_is_not_kept(postgresql: PostgreSQL) -> None:
    """The server lets everybody write again; only sessions of before cannot."""
    url = postgresql.create_database("hpo_sessions")
    told: list[str] = []
    db = open_database(url, create=True)
    study_id = kit.new_study(db, trials=1, epochs=N_EPOCHS)
    ledger, worker_id = Ledger(db), workers.register(db, study_id, "cpu")
    client = DatabaseClient(db, ledger, study_id, worker_id, threading.Event(), told.append)
    (lease,) = ledger.claim(study_id, worker_id, 1).leases
    postgresql.execute("ALTER DATABASE hpo_sessions SET default_transaction_read_only = on")
    db.drop_sessions()
    with db.read():
        # Now its one session is one that began read-only.
        pass
    assert client.report([kit.epoch_row(lease, 1)]) == set()
    assert client.is_down
    assert "its server is read-only" in told[0]
    postgresql.execute("ALTER DATABASE hpo_sessions RESET ALL")
    assert client.call(lambda: "there") == "there"
    assert kit.epochs_of(db, lease.trial_id) == [1]
    assert client.report([kit.epoch_row(lease, 2)]) == set()
    assert told[-1] == ""
    db.dispose()


def test_what_is_told_of_an_outage_is_what_it_is_now(postgresql: PostgreSQL) -> None:
    url = postgresql.create_database("hpo_sessions")
    told: list[str] = []
    db = open_database(url, create=True)
    study_id = kit.new_study(db, trials=1)
    worker_id = workers.register(db, study_id, "cpu")
    client = DatabaseClient(db, Ledger(db), study_id, worker_id, threading.Event(), told.append)
    postgresql.execute("ALTER DATABASE hpo_sessions SET default_transaction_read_only = on")
    client.note_failure(ConnectionError("gone"))
    while not any("its server is read-only" in why for why in told):
        threading.Event().wait(0.05)
    postgresql.execute("ALTER DATABASE hpo_sessions RESET ALL")
    assert client.call(lambda: "there") == "there"
    assert told[-1] == ""
    db.dispose()
