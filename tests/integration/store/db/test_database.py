"""Opening a database, whatever is wrong with it; transactions; the clock."""

from __future__ import annotations

import contextlib
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import connection_pool
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from tests.conftest import GetServer
from tests.kits.servers import PASSWORD, Server, free_port

pytestmark = pytest.mark.integration

SERVERS = ("postgresql", "mysql")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, server_of: GetServer) -> Server:
    return server_of(request.param)


@pytest.fixture
def table(database_url: str) -> Iterator[Database]:
    """A database with one table, ``t``, with one column, ``a``."""
    db = Database(database_url)
    with db.write() as conn:
        conn.execute(sa.text("CREATE TABLE t (a INTEGER PRIMARY KEY)"))
    yield db
    db.dispose()


def _rows(db: Database) -> list[int]:
    with db.read() as conn:
        return list(conn.scalars(sa.text("SELECT a FROM t ORDER BY a")))


def _stop_and_ask(server: Server, conn: sa.Connection) -> None:
    server.stop()
    conn.execute(sa.text("SELECT 1"))


def _message(url: str, *, create: bool = True) -> str:
    with pytest.raises(StoreError) as caught:
        open_database(url, create=create)
    message = str(caught.value)
    assert "\n" not in message
    assert PASSWORD not in message
    assert "s3cret" not in message
    return message


def test_opening_creates_once_and_then_finds(database_url: str) -> None:
    open_database(database_url, create=True).dispose()
    open_database(database_url, create=True).dispose()
    db = open_database(database_url)
    assert repr(db) == f"Database({db.masked_url!r})"
    assert PASSWORD not in repr(db)
    db.dispose()


def test_an_empty_database_is_none_yet(database_url: str) -> None:
    message = _message(database_url, create=False)
    assert "`hpo run STUDY.toml`" in message
    if database_url.startswith("sqlite"):
        assert not Path(database_url.removeprefix("sqlite:///")).exists()


def test_write_commits_or_rolls_back(table: Database) -> None:
    with table.write() as conn:
        conn.execute(sa.text("INSERT INTO t VALUES (1)"))

    def insert_and_fail(conn: sa.Connection) -> None:
        conn.execute(sa.text("INSERT INTO t VALUES (2)"))
        raise KeyError

    with pytest.raises(KeyError):
        table.transaction(insert_and_fail)
    assert _rows(table) == [1]


def test_integrity_errors_pass_and_others_become_store_errors(table: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError), table.write() as conn:
        conn.execute(sa.text("INSERT INTO t VALUES (1), (1)"))
    with pytest.raises(StoreError, match="table is missing") as caught, table.read() as conn:
        conn.execute(sa.text("SELECT * FROM nowhere"))
    assert not table.is_outage(caught.value)
    assert isinstance(caught.value.__cause__, sa.exc.DBAPIError)


def test_the_clock_is_utc_with_microseconds(database: Database) -> None:
    moments = []
    for _ in range(20):
        with database.read() as conn:
            moments.append(database.now(conn))
    assert all(moment.tzinfo is None for moment in moments)
    assert moments == sorted(moments)
    assert len(set(moments)) == 20
    assert any(moment.microsecond % 1000 for moment in moments)
    here = datetime.now(UTC).replace(tzinfo=None)
    assert abs((moments[-1] - here).total_seconds()) < 60


def test_the_clock_moves_within_a_transaction(database: Database) -> None:
    """After waiting for a lock, a transaction must not judge by the time before."""
    with database.write() as conn:
        before = database.now(conn)
        time.sleep(0.02)
        assert (database.now(conn) - before).total_seconds() >= 0.015


def test_a_database_can_be_pickled(table: Database) -> None:
    copy = pickle.loads(pickle.dumps(table))
    with copy.write() as conn:
        conn.execute(sa.text("INSERT INTO t VALUES (7)"))
    copy.dispose()
    assert _rows(table) == [7]


def test_transactions_that_lost_are_run_again(table: Database) -> None:
    """Two threads lock two rows in opposite order, which deadlocks wherever rows are locked."""
    with table.write() as conn:
        conn.execute(sa.text("INSERT INTO t VALUES (1), (2)"))
    meeting = threading.Barrier(2, timeout=1)
    done: list[tuple[int, int]] = []

    def swap(first: int, second: int) -> None:
        def work(conn: sa.Connection) -> None:
            conn.execute(sa.text("UPDATE t SET a = a WHERE a = :a"), {"a": first})
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait()
            conn.execute(sa.text("UPDATE t SET a = a WHERE a = :a"), {"a": second})

        table.transaction(work)
        done.append((first, second))

    threads = [threading.Thread(target=swap, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [(1, 2), (2, 1)]


def test_opening_an_existing_database_is_cheap(database: Database) -> None:
    """It loads neither alembic nor Optuna."""
    code = (
        "import sys\nfrom hpo.store.db.opening import open_database\n"
        "open_database(sys.argv[1]).dispose()\n"
        "print([name for name in ('alembic', 'optuna', 'torch') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, database.url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_long_lock_on_sqlite_is_an_outage(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Database(sqlite_database.url)
    sa.event.listen(other.engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout = 20"))
    with (
        sqlite_database.write(),
        pytest.raises(StoreError, match="locked") as caught,
        other.write(),
    ):
        pass
    assert other.is_outage(caught.value)
    other.dispose()


def test_a_full_disk_on_sqlite_is_an_outage(sqlite_database: Database) -> None:
    with sqlite_database.read() as conn:
        n_pages = conn.exec_driver_sql("PRAGMA page_count").scalar()
    sa.event.listen(
        sqlite_database.engine,
        "begin",
        lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={n_pages}"),
    )
    with (
        pytest.raises(StoreError, match="make room on that disk") as caught,
        sqlite_database.write() as conn,
    ):
        conn.exec_driver_sql("CREATE TABLE big AS SELECT randomblob(1000000) AS a")
    assert sqlite_database.is_outage(caught.value)


def test_sqlite_in_a_missing_folder(tmp_path: Path) -> None:
    message = _message(f"sqlite:///{tmp_path}/no/hpo.db")
    assert message.endswith(
        f"the folder {tmp_path}/no does not exist; create it or name another file"
    )


def test_sqlite_at_a_folder(tmp_path: Path) -> None:
    assert _message(f"sqlite:///{tmp_path}").startswith(f"{tmp_path} is a folder; name a file")


def test_sqlite_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, " * 100)
    assert _message(str(path)) == f"{path} is not an SQLite database; name another file"
    assert path.read_text() == "not a database, " * 100


def test_sqlite_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "hpo.db"
    sqlite3.connect(path).execute("CREATE TABLE t (a)").connection.close()
    path.chmod(0o444)
    db = Database(f"sqlite:///{path}")
    if os.geteuid() == 0:
        # Root may write everything; SQLite itself is told not to.
        sa.event.listen(db.engine, "connect", lambda c, _: c.execute("PRAGMA query_only = ON"))
    with (
        pytest.raises(StoreError, match="cannot be written; make the file and its folder"),
        db.write() as conn,
    ):
        conn.exec_driver_sql("INSERT INTO t VALUES (1)")
    db.dispose()


def test_sqlite_keeps_to_its_file_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    db = open_database("sqlite:///hpo.db", create=True)
    assert db.masked_url == "sqlite:///hpo.db"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pickle.loads(pickle.dumps(db)).connect(db.url).dispose()
    db.dispose()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_connecting_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database at"):
        Database.connect(f"sqlite:///{tmp_path}/hpo.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dialect", SERVERS)
def test_a_server_that_does_not_answer(dialect: str) -> None:
    url = f"{dialect}://u:s3cret@127.0.0.1:{free_port()}/hpo"
    message = _message(url)
    assert "cannot be reached; check that its server runs" in message
    assert f"{dialect}://u:***@127.0.0.1" in message
    with pytest.raises(StoreError) as caught:
        Database.connect(url)
    assert Database(url).is_outage(caught.value)


def test_a_wrong_password(server: Server) -> None:
    url = sa.make_url(server.url("hpo")).set(password="s3cret-but-wrong")
    with pytest.raises(StoreError) as caught:
        Database.connect(url.render_as_string(hide_password=False))
    assert "the server refused user and password" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert not Database(server.url("hpo")).is_outage(caught.value)


def test_a_database_that_the_server_does_not_have(server: Server) -> None:
    message = _message(server.url("nosuch"))
    assert "the server has no such database; create it" in message


def test_a_server_that_stops_is_an_outage_and_comes_back(server: Server) -> None:
    name = f"hpo_outage_{os.getpid()}"
    db = open_database(server.create_database(name), create=True)
    try:
        server.stop()
        with pytest.raises(StoreError, match="cannot be reached") as caught, db.read() as conn:
            conn.execute(sa.text("SELECT 1"))
        assert db.is_outage(caught.value)
        server.start()
        with db.read() as conn:
            assert conn.execute(sa.text("SELECT 1")).scalar() == 1
        with pytest.raises(StoreError) as caught:
            db.transaction(lambda conn: _stop_and_ask(server, conn))
        assert db.is_outage(caught.value)
    finally:
        if server.process is None:
            server.start()
        db.dispose()
        server.drop_database(name)


@pytest.mark.parametrize("ping_after_s", [0.0, 1e9])
def test_a_connection_that_was_idle_is_asked_whether_it_lives(
    server: Server, monkeypatch: pytest.MonkeyPatch, ping_after_s: float
) -> None:
    """One that was used a moment ago is not: that would cost a round trip each time."""
    name = f"hpo_idle_{os.getpid()}"
    db = Database.connect(server.create_database(name))
    monkeypatch.setattr(connection_pool, "PING_AFTER_S", ping_after_s)
    own_id, kill = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
        "mysql": ("SELECT CONNECTION_ID()", "KILL {}"),
    }[db.dialect]
    try:
        with db.read() as conn:
            before = conn.exec_driver_sql(own_id).scalar()
        killing = Database.connect(db.url)
        with killing.read() as conn:
            conn.exec_driver_sql(kill.format(before))
        killing.dispose()
        if ping_after_s:
            with pytest.raises(StoreError, match="cannot be reached"), db.read() as conn:
                conn.exec_driver_sql(own_id)
        with db.read() as conn:
            assert conn.exec_driver_sql(own_id).scalar() != before
    finally:
        db.dispose()
        server.drop_database(name)


def test_a_session_that_holds_its_transaction_too_long_is_ended(database: Database) -> None:
    """A stopped process must not lock a study for ever; SQLite's lock goes with its process."""
    if database.dialect == "sqlite":
        with database.read() as conn:
            assert conn.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
        return
    setting = {
        "postgresql": "SHOW idle_in_transaction_session_timeout",
        "mysql": "SELECT @@SESSION.idle_transaction_timeout",
    }
    with database.read() as conn:
        assert str(conn.execute(sa.text(setting[database.dialect])).scalar()) in ("30", "30s")
        level = {"postgresql": "SHOW transaction_isolation", "mysql": "SELECT @@tx_isolation"}
        found = str(conn.execute(sa.text(level[database.dialect])).scalar())
        assert found.replace("-", " ").lower() == "read committed"
