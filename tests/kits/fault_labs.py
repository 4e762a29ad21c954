"""Real faults of real databases: each is provoked, caught as hpo raises it, and taken back."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db.database import Database
from tests.kits.servers import Server

WRITE = "UPDATE t SET b = b + 1 WHERE a = 1"
READ = "SELECT b FROM t WHERE a = 1"


class Lab:
    """A database with a table, used by a user with few privileges.

    Args:
        server: Which may be stopped.
        folder: For a small disk.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        server.create_database("lab")
        self.grant()
        self.db = Database(self.url())
        self.write()

    def url(self, user: str = "lab", password: str = "x", database: str = "lab") -> str:
        name = self.server.driver.partition("+")[0]
        return f"{name}://{user}:{password}@127.0.0.1:{self.server.port}/{database}"

    def grant(self) -> None:
        raise NotImplementedError

    def cancel(self, *, session: bool) -> None:
        """Cancels what the user does, or ends the session that does it."""
        raise NotImplementedError

    def admin(self, *statements: str) -> None:
        """Runs statements in the lab's database with every right."""
        with self.session() as conn:
            for statement in statements:
                conn.exec_driver_sql(statement)

    @contextlib.contextmanager
    def session(self) -> Iterator[sa.Connection]:
        engine = self.server._engine("lab")
        with engine.connect() as conn:
            yield conn
        engine.dispose()

    def write(self, *statements: str) -> None:
        """Runs statements as hpo does, in one transaction."""
        with self.db.write() as conn:
            for statement in statements or (WRITE,):
                conn.exec_driver_sql(statement)

    def failing(self, *statements: str) -> StoreError:
        """Returns the error of statements that cannot succeed."""
        with pytest.raises(StoreError) as caught:
            self.write(*statements)
        return caught.value

    def failing_amid(self, provoke: Callable[[], object], *before: str) -> StoreError:
        """Returns the error of a transaction in whose midst something happens."""

        def work(conn: sa.Connection) -> None:
            for statement in (*before, READ):
                conn.exec_driver_sql(statement)
            provoke()
            conn.exec_driver_sql(READ)

        with pytest.raises(StoreError) as caught:
            self.db.transaction(work)
        return caught.value

    def opening(self, url: str) -> StoreError:
        """Returns the error of a connection that cannot be made."""
        with pytest.raises(StoreError) as caught:
            Database.connect(url)
        return caught.value

    @contextlib.contextmanager
    def locked(self, row: int = 1) -> Iterator[None]:
        """Another session holds a row locked."""
        with self.session() as conn:
            conn.exec_driver_sql("BEGIN")
            conn.exec_driver_sql(f"UPDATE t SET b = b + 1 WHERE a = {row}")
            yield
            conn.exec_driver_sql("ROLLBACK")

    @contextlib.contextmanager
    def crowd(self, n: int) -> Iterator[None]:
        """Up to ``n`` more connections of the user."""
        self.db.drop_sessions()
        url = sa.make_url(self.url()).set(drivername=self.server.driver)
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(sa.exc.OperationalError):
                for _ in range(n):
                    stack.enter_context(engine.connect())
            yield

    def interrupted(self, *, session: bool) -> StoreError:
        """Returns the error of a statement that is cancelled while it waits."""
        with self.locked():
            timer = threading.Thread(target=self._cancel_soon, args=(session,))
            timer.start()
            error = self.failing()
            timer.join()
        return error

    def deadlocked(self) -> StoreError:
        """Returns the error of the one of two transactions that wait for each other."""
        both_have_one = threading.Barrier(2, timeout=10)
        errors = []

        def update(first: int, then: int) -> None:
            db = Database(self.url())
            try:
                with db.write() as conn:
                    conn.exec_driver_sql(f"UPDATE t SET b = b + 1 WHERE a = {first}")
                    both_have_one.wait()
                    conn.exec_driver_sql(f"UPDATE t SET b = b + 1 WHERE a = {then}")
            except StoreError as error:
                errors.append(error)
            db.dispose()

        other = threading.Thread(target=update, args=(2, 1))
        other.start()
        update(1, 2)
        other.join()
        (error,) = errors
        return error

    @contextlib.contextmanager
    def small_disk(self) -> Iterator[Path]:
        """A folder of one megabyte that the server may use."""
        path = self.folder / "small"
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", str(path)]
        if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("a disk of its own needs root")
        for parent in path.parents:
            if parent.stat().st_uid == 0 and parent.is_relative_to("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o055)
        inner = path / "inner"
        inner.mkdir()
        inner.chmod(0o700)
        shutil.chown(inner, "nobody")
        try:
            yield inner
        finally:
            subprocess.run(["umount", "-l", str(path)], check=True)

    def restarted(self) -> StoreError:
        """Returns the error of a transaction whose server stops."""
        error = self.failing_amid(self.server.stop)
        self.server.start()
        return error

    def stopped(self) -> StoreError:
        """Returns the error of a server that is not there."""
        self.server.stop()
        self.db.drop_sessions()
        error = self.failing()
        self.server.start()
        return error

    def _cancel_soon(self, session: bool) -> None:
        time.sleep(0.3)
        self.cancel(session=session)


class PostgreSQLLab(Lab):
    """As `Lab`."""

    def grant(self) -> None:
        self.admin(
            "CREATE TABLE t (a INT PRIMARY KEY, b INT)",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
            "CREATE ROLE lab LOGIN PASSWORD 'x'",
            "GRANT ALL ON t TO lab",
        )

    def cancel(self, *, session: bool) -> None:
        verb = "terminate" if session else "cancel"
        self.admin(
            f"SELECT pg_{verb}_backend(pid) FROM pg_stat_activity"
            " WHERE usename = 'lab' AND state = 'active'"
        )

    def as_role(self, setting: str, *statements: str) -> StoreError:
        """Returns the error of a session that began with a setting; the next ones have it not."""
        self.admin(f"ALTER ROLE lab SET {setting}")
        self.db.drop_sessions()
        error = self.failing(*statements)
        self.admin("ALTER ROLE lab RESET ALL")
        return error

    def limited(self, subject: str) -> StoreError:
        """Returns the error of a role or a database with all its connections in use."""
        self.admin(f"ALTER {subject} CONNECTION LIMIT 1")
        with self.crowd(1):
            error = self.failing()
        self.admin(f"ALTER {subject} CONNECTION LIMIT -1")
        return error

    def full(self) -> StoreError:
        with self.small_disk() as path:
            self.admin(f"CREATE TABLESPACE small LOCATION '{path}'", "CREATE TABLE big (x TEXT)")
            self.admin("ALTER TABLE big SET TABLESPACE small", "GRANT ALL ON big TO lab")
            rows = "INSERT INTO big SELECT repeat(md5(i::text), 60) FROM generate_series(1, 2000) i"
            error = self.failing(rows)
            self.admin("DROP TABLE big", "DROP TABLESPACE small")
        return error


class MariaDBLab(Lab):
    """As `Lab`."""

    def grant(self) -> None:
        self.admin(
            "CREATE TABLE t (a INT PRIMARY KEY, b INT)",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
            "CREATE USER 'lab'@'127.0.0.1' IDENTIFIED BY 'x'",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON lab.* TO 'lab'@'127.0.0.1'",
        )

    def cancel(self, *, session: bool) -> None:
        verb = "CONNECTION" if session else "QUERY"
        with self.session() as conn:
            busy = "SELECT id FROM information_schema.processlist WHERE user = 'lab' AND info <> ''"
            for (number,) in conn.exec_driver_sql(busy).all():
                conn.exec_driver_sql(f"KILL {verb} {number}")

    def with_global(self, name: str, value: object, *statements: str) -> StoreError:
        """Returns the error of sessions that begin while a variable has another value."""
        with self.session() as conn:
            before = conn.exec_driver_sql(f"SELECT @@GLOBAL.{name}").scalar()
        self.admin(f"SET GLOBAL {name} = {value}")
        self.db.drop_sessions()
        error = self.failing(*statements)
        self.admin(f"SET GLOBAL {name} = {before}")
        return error

    def limited(self, limit: str, n: int, *statements: str) -> StoreError:
        """Returns the error of a user that has used its limit up."""
        self.admin(f"ALTER USER 'lab'@'127.0.0.1' WITH {limit} {n}", "FLUSH USER_RESOURCES")
        with self.crowd(1):
            error = self.failing(*statements)
        self.admin(f"ALTER USER 'lab'@'127.0.0.1' WITH {limit} 0")
        return error

    def full(self) -> StoreError:
        # InnoDB ends the server on a full disk sooner or later; a table in memory has a bound.
        self.admin("CREATE TABLE big (x CHAR(250)) ENGINE = MEMORY MAX_ROWS = 10")
        rows = "INSERT INTO big SELECT 'x' FROM t, t AS u, t AS v, t AS w, t AS x, t AS y, t AS z"
        error = self.failing(rows, *[rows] * 200)
        self.admin("DROP TABLE big")
        return error


class SQLiteLab:
    """A file with a table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "lab.db"
        self.db = Database(f"sqlite:///{self.path}")
        for statement in (
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)",
            "INSERT INTO t VALUES (1, 1)",
        ):
            self.write(statement)

    def write(self, statement: str = WRITE) -> None:
        with self.db.write() as conn:
            conn.exec_driver_sql(statement)

    def failing(self, statement: str = WRITE) -> StoreError:
        with pytest.raises(StoreError) as caught:
            self.write(statement)
        return caught.value

    def locked(self) -> StoreError:
        sa.event.listen(self.db.engine, "connect", _be_impatient)
        self.db.drop_sessions()
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        error = self.failing()
        other.close()
        return error

    def full(self) -> StoreError:
        limits = iter([1])

        def limit(conn: sa.Connection) -> None:
            # A limit below the file's size means its size.
            conn.exec_driver_sql(f"PRAGMA max_page_count = {next(limits, 1_000_000)}")

        sa.event.listen(self.db.engine, "begin", limit)
        return self.failing("CREATE TABLE more AS SELECT zeroblob(100000)")

    def read_only(self) -> StoreError:
        self.db.drop_sessions()
        self.path.chmod(0o444)
        with _as_nobody(self.folder, 0o555):
            error = self.failing()
        self.path.chmod(0o644)
        return error

    def moved(self) -> StoreError:
        away = self.path.with_name("away.db")
        self.path.rename(away)
        error = self.failing()
        assert not self.path.exists()
        away.rename(self.path)
        return error

    @contextlib.contextmanager
    def replaced(self) -> Iterator[None]:
        """Another file is put in its place meanwhile."""
        self.write("UPDATE t SET b = 200")
        away = self.path.with_name("away.db")
        self.path.rename(away)
        with contextlib.closing(sqlite3.connect(self.path)) as other:
            other.execute("CREATE TABLE t (b INTEGER)")
        yield
        away.replace(self.path)


@contextlib.contextmanager
def _as_nobody(folder: Path, mode: int) -> Iterator[None]:
    """Root may write whatever the file's mode is; others may not."""
    before = folder.stat().st_mode
    folder.chmod(mode)
    is_root = os.geteuid() == 0
    if is_root:
        for parent in folder.parents:
            if parent.is_relative_to("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o055)
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(before)


def _be_impatient(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA busy_timeout = 100")
