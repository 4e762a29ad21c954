"""Database: opened by its URL, and used in short transactions."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import driver_error_tables, driver_errors, sql_engines, urls
from hpo.store.db.connection_pool import ConnectionPool
from hpo.store.db.urls import DEFAULT_URL, resolve_url

__all__ = ["DEFAULT_URL", "Database", "resolve_url"]

T = TypeVar("T")

MAX_TRIES = 8
"""Attempts at a transaction that loses against others, with random waits of up to a second."""


class FileMovedError(ConnectionError):
    """The file of an SQLite database is no longer the one that was opened."""


class Database:
    """A database by its URL; pickled by URL, each process has connections of its own.

    Creating the object connects to nothing; `open` and `connect` do.

    Args:
        url: As `resolve_url` takes it.

    Attributes:
        url: The resolved URL, with the password; never log it.
        masked_url: The URL without its password, for messages.
        dialect: ``sqlite``, ``postgresql`` or ``mysql`` (which stands for MariaDB, too).
        engine: SQLAlchemy's engine. A transaction begun on it directly writes; prefer `read`
            and `write`.
        clock_offset: Added to the database's clock; for tests that move time.
    """

    clock_offset = timedelta(0)

    def __init__(self, url: str | None = None) -> None:
        parsed = urls.parse(resolve_url(url))
        self._url = urls.absolute(parsed)
        self.url = self._url.render_as_string(hide_password=False)
        self.masked_url = urls.shown(parsed)
        self.dialect = self._url.get_backend_name()
        self._file: tuple[int, int] | None = None
        self.engine = sql_engines.create(self._url)
        self._pool = ConnectionPool(self.engine)
        self._thread = threading.local()

    @classmethod
    def connect(cls, url: str | None = None) -> Database:
        """Opens a database whatever its schema is, to check or upgrade it.

        Raises:
            StoreError: It is not there or cannot be reached.
        """
        db = cls(url)
        db.require_file()
        try:
            with db.read() as conn:
                conn.execute(sa.text("SELECT 1"))
        except BaseException:
            db.dispose()
            raise
        return db

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Opens a transaction that only reads; on SQLite it sees one snapshot and blocks no other.

        Raises:
            StoreError: The database failed; the driver's error is its cause.
        """
        with self._begin(read_only=True) as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Opens a transaction that writes: committed at the end, rolled back on any error.

        On SQLite it is ``BEGIN IMMEDIATE``, so that no other process writes between its reads and
        its writes. Integrity errors are raised as SQLAlchemy's own.

        Raises:
            StoreError: The database failed; the driver's error is its cause.
        """
        with self._begin(read_only=False) as conn:
            yield conn

    def transaction(self, work: Callable[[sa.Connection], T], *, single: bool = False) -> T:
        """Runs ``work`` in `write`, again from the start if it lost against another transaction.

        Deadlocks and serialization failures are no faults: PostgreSQL and MySQL settle by them
        which transaction comes first.

        Args:
            work: Must change nothing but the database.
            single: It sends one statement, which is a transaction by itself on PostgreSQL: one
                round trip instead of three.

        Raises:
            StoreError: The database failed, or lost `MAX_TRIES` times in a row.
        """

        def once() -> T:
            with self._begin(read_only=False, single=single) as conn:
                return work(conn)

        try:
            return once()
        except Exception as error:
            if not driver_errors.is_conflict(error):
                raise
        return _again(once)

    def now(self, conn: sa.Connection) -> datetime:
        """Returns the database's clock: naive UTC with microseconds.

        SQLite has no server, so its clock is that of the machine that holds the file.
        """
        if self.dialect == "postgresql":
            # Not now(): that is when the transaction began, before it waited for its locks.
            moment = conn.execute(sa.text("SELECT clock_timestamp() AT TIME ZONE 'UTC'")).scalar()
        elif self.dialect == "mysql":
            moment = conn.execute(sa.text("SELECT UTC_TIMESTAMP(6)")).scalar()
        else:
            moment = datetime.now(UTC).replace(tzinfo=None)
        assert isinstance(moment, datetime)
        return moment + self.clock_offset

    def is_outage(self, error: BaseException) -> bool:
        """Returns whether waiting may help against this error: server gone, locked, disk full."""
        return driver_errors.is_outage(error)

    def merge_log(self) -> None:
        """Makes SQLite's file whole: what was written is no longer in its log alone."""
        sql_engines.merge_log(self.engine)

    def is_crowded(self, error: BaseException) -> bool:
        """Returns whether only a free connection is missing: the database itself works."""
        return driver_errors.is_crowded(error)

    def drop_sessions(self) -> None:
        """Makes the next transactions use new connections, as the present ones may be bad."""
        self._pool.drop()

    def dispose(self) -> None:
        """Closes every connection; the next use opens new ones."""
        self.engine.dispose()

    def __repr__(self) -> str:
        return f"Database({self.masked_url!r})"

    def __reduce__(self) -> tuple[type[Database], tuple[str]]:
        return Database, (self.url,)

    def require_file(self) -> None:
        """Requires the file of an SQLite database.

        Raises:
            StoreError: It is not there.
        """
        # SQLite would create the file; a misspelt path must not create one.
        if self.dialect == "sqlite" and not Path(str(self._url.database)).exists():
            raise StoreError(
                f"there is no database at {self.masked_url}; `hpo run STUDY.toml` creates one, "
                f"--storage or ${urls.ENVIRONMENT_VARIABLE} names another"
            )

    def _note_file(self) -> None:
        if self._file is None and self.dialect == "sqlite":
            self._file = _identity(str(self._url.database))

    def _require_same_file(self) -> None:
        """Checks that the file of an open SQLite database was not moved away or replaced.

        SQLite would continue with the moved file, or create an empty one in its place. Moving the
        file back helps, so this is an outage.

        Raises:
            StoreError: The file was moved or replaced.
        """
        if self._file is None:
            return
        found = _identity(path := str(self._url.database))
        if found == self._file:
            return
        what = "was moved away or deleted" if found is None else "was replaced by another file"
        error = FileMovedError(path)
        raise StoreError(f"{path} {what} while it was in use; put it back") from error

    @contextmanager
    def _begin(self, *, read_only: bool, single: bool = False) -> Iterator[sa.Connection]:
        self._require_same_file()
        # A thread that holds the pool's only connection would wait for itself.
        is_nested = getattr(self._thread, "is_busy", False)
        engine = sql_engines.create(self._url, pooled=False) if is_nested else self.engine
        try:
            with engine.connect() as conn:
                conn = conn.execution_options(
                    **{sql_engines.READ_ONLY: read_only, sql_engines.SINGLE: single}
                )
                with conn.begin():
                    self._note_file()
                    self._thread.is_busy = True
                    try:
                        yield conn
                    finally:
                        self._thread.is_busy = is_nested
        except (sa.exc.IntegrityError, sa.exc.DataError):
            raise
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            if driver_errors.kind_of(error) is driver_error_tables.ErrorKind.OUTAGE:
                self.drop_sessions()
            raise driver_errors.explain(error, self._url) from error


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - once in each transaction
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _again(once: Callable[[], T]) -> T:
    # Rarely needed, and slow to load.
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(driver_errors.is_conflict),
        stop=tenacity.stop_after_attempt(MAX_TRIES - 1),
        wait=tenacity.wait_random_exponential(0.01, 1.0),
        reraise=True,
    )
    return retrying(once)
