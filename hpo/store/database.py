"""One engine per URL, the settings each kind of database needs, and short transactions."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import tenacity

from hpo.errors import StoreError
from hpo.store import faults, schema, urls
from hpo.store.urls import DEFAULT_URL, resolve_url

__all__ = ["DEFAULT_URL", "Database", "resolve_url"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
MAX_TRIES = 8
_READ_ONLY = "hpo_read_only"

# A process that is stopped (SIGSTOP, a frozen machine) inside a transaction would hold the
# study's row for ever; the server ends such a session instead.
_POSTGRESQL_SETTINGS = (
    f"SET SESSION lock_timeout = '{BUSY_TIMEOUT_S}s'",
    f"SET SESSION idle_in_transaction_session_timeout = '{BUSY_TIMEOUT_S}s'",
)
_MYSQL_SETTINGS = (f"SET SESSION innodb_lock_wait_timeout = {BUSY_TIMEOUT_S}",)
_MARIADB_SETTINGS = (f"SET SESSION idle_transaction_timeout = {BUSY_TIMEOUT_S}",)

_CONNECT_ARGS: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": BUSY_TIMEOUT_S},
    "postgresql": {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "hpo",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1000 * BUSY_TIMEOUT_S,
    },
    "mysql": {
        "charset": "utf8mb4",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": 4 * BUSY_TIMEOUT_S,
        "write_timeout": 4 * BUSY_TIMEOUT_S,
    },
}


class Database:
    """A database by its URL; pickled by URL, each process has connections of its own.

    Creating the object connects to nothing; `open` and `connect` do.

    Args:
        url: As `resolve_url` takes it.

    Attributes:
        url: The resolved URL, with the password; never log it.
        masked_url: The URL as people may see it.
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
        self.engine = _create_engine(self._url)

    @classmethod
    def open(cls, url: str | None = None, *, create: bool = False) -> Database:
        """Opens a database and checks both schemas, Optuna's and ours.

        Args:
            url: As `resolve_url` takes it.
            create: Make what is missing: the SQLite file, Optuna's tables, ours. Any number of
                processes may do so at once.

        Raises:
            StoreError: One line that says what to do: no database there, unreachable, wrong
                password, schema too old or too new.
        """
        db = cls(url)
        if not create:
            db._require_file()
        try:
            schema.ensure(db, create=create)
        except BaseException:
            db.dispose()
            raise
        return db

    @classmethod
    def connect(cls, url: str | None = None) -> Database:
        """Opens a database whatever its schema is, to check or upgrade it.

        Raises:
            StoreError: It is not there or cannot be reached.
        """
        db = cls(url)
        db._require_file()
        try:
            with db.read() as conn:
                conn.execute(sa.text("SELECT 1"))
        except BaseException:
            db.dispose()
            raise
        return db

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads; on SQLite it sees one snapshot and blocks nobody.

        Raises:
            StoreError: The database failed; the driver's error is its cause.
        """
        with self._begin(read_only=True) as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes: committed at the end, rolled back on any error.

        On SQLite it is ``BEGIN IMMEDIATE``, so that nobody else writes between its reads and
        its writes. Integrity errors pass as SQLAlchemy raises them.

        Raises:
            StoreError: The database failed; the driver's error is its cause.
        """
        with self._begin(read_only=False) as conn:
            yield conn

    def transaction(self, work: Callable[[sa.Connection], T]) -> T:
        """Runs ``work`` in `write`, again from the start when it lost against another one.

        Deadlocks and serialization failures are no faults but the way PostgreSQL and MySQL
        settle who goes first. ``work`` must change nothing but the database.

        Raises:
            StoreError: The database failed, or lost `MAX_TRIES` times in a row.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(faults.is_conflict),
            stop=tenacity.stop_after_attempt(MAX_TRIES),
            wait=tenacity.wait_random_exponential(0.01, 1.0),
            reraise=True,
        )

        def once() -> T:
            with self.write() as conn:
                return work(conn)

        return retrying(once)

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
        """Tells whether waiting may mend this error: server gone, locked, disk full."""
        return faults.is_outage(error)

    def dispose(self) -> None:
        """Closes every connection; the next use opens new ones."""
        self.engine.dispose()

    def __repr__(self) -> str:
        return f"Database({self.masked_url!r})"

    def __reduce__(self) -> tuple[type[Database], tuple[str]]:
        return Database, (self.url,)

    def _require_file(self) -> None:
        # SQLite would create the file; a misspelt path must not leave one behind.
        if self.dialect == "sqlite" and not Path(str(self._url.database)).exists():
            raise StoreError(
                f"there is no database at {self.masked_url}; `hpo run STUDY.toml` creates one, "
                f"--storage or ${urls.ENVIRONMENT_VARIABLE} names another"
            )

    @contextmanager
    def _begin(self, *, read_only: bool) -> Iterator[sa.Connection]:
        try:
            with self.engine.connect() as conn:
                conn = conn.execution_options(**{_READ_ONLY: read_only})
                with conn.begin():
                    yield conn
        except (sa.exc.IntegrityError, sa.exc.DataError):
            raise
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            raise faults.explain(error, self._url) from error


def _create_engine(url: sa.URL) -> sa.Engine:
    backend = url.get_backend_name()
    options: dict[str, Any] = {"connect_args": dict(_CONNECT_ARGS[backend])}
    if backend != "sqlite":
        options |= {"isolation_level": "READ COMMITTED", "pool_pre_ping": True}
    try:
        engine = sa.create_engine(url, **options)
    except ImportError as error:
        raise faults.missing_driver(url) from error
    sa.event.listen(engine, "connect", _ON_CONNECT[backend])
    if backend == "sqlite":
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions of its own accord: _begin_sqlite does.
    # Source: SQLAlchemy's SQLite dialect, "Enabling Non-Legacy SQLite Transactional Modes".
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_TIMEOUT_S}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Somebody else is at it, or the file cannot be written: the next connection tries
            # again, and everything is right without it, only slower.
            logger.debug("no write-ahead log yet: %s", error)


def _begin_sqlite(conn: sa.Connection) -> None:
    reads = conn.get_execution_options().get(_READ_ONLY, False)
    conn.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    _execute_all(connection, _POSTGRESQL_SETTINGS)


def _set_up_mysql(connection: Any, _record: Any) -> None:
    is_mariadb = "mariadb" in connection.get_server_info().lower()
    _execute_all(connection, _MYSQL_SETTINGS + (_MARIADB_SETTINGS if is_mariadb else ()))


def _execute_all(connection: Any, statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    # A session setting made in a transaction that is rolled back would be undone.
    connection.commit()


_ON_CONNECT = {
    "sqlite": _set_up_sqlite,
    "postgresql": _set_up_postgresql,
    "mysql": _set_up_mysql,
}
