"""Engines: SQLAlchemy's engines with the settings that each kind of database needs."""

from __future__ import annotations

import atexit
import logging
import sqlite3
import weakref
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hpo.store.db import driver_errors

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 30
"""Seconds that a statement waits for a lock, and that a session may be idle in a transaction: half
the grace of a worker, so that locks of a frozen process cost no trial."""
CONNECT_TIMEOUT_S = 10
"""Seconds to connect to a server: enough for a slow network."""
POOL_TIMEOUT_S = 2 * BUSY_TIMEOUT_S
"""Seconds that a thread waits for its process's connection, which may be waiting for a lock."""
READ_ONLY = "hpo_read_only"
"""Execution option of a connection for which SQLite need not take the lock for writing."""
SINGLE = "hpo_single"
"""Execution option of a connection on which one statement is the whole transaction."""
_MERGE_TIMEOUT_S = 2
"""Seconds that merging the log waits for others: merging is optional, so it is short."""

_engines: weakref.WeakSet[sa.Engine] = weakref.WeakSet()

# A process that is stopped (SIGSTOP, a frozen machine) inside a transaction would hold the study's
# row for ever; the server ends such a session instead.
_POSTGRESQL_SETTINGS: tuple[str, ...] = (
    f"SET SESSION lock_timeout = '{BUSY_TIMEOUT_S}s'",
    f"SET SESSION idle_in_transaction_session_timeout = '{BUSY_TIMEOUT_S}s'",
)
_MYSQL_SETTINGS: tuple[str, ...] = (
    f"SET SESSION innodb_lock_wait_timeout = {BUSY_TIMEOUT_S}",
    # MySQL's own limit would cut the curves that `trial_reader` asks for.
    f"SET SESSION group_concat_max_len = {2**30}",
)
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


def create(url: sa.URL, *, pooled: bool = True) -> sa.Engine:
    """Returns an engine with the settings that its kind of database needs; connects to nothing.

    Args:
        url: The database.
        pooled: Whether its connections are kept. All threads then share one, except on SQLite.

    Raises:
        StoreError: The driver is not installed.
    """
    backend = url.get_backend_name()
    options: dict[str, Any] = {"connect_args": dict(_CONNECT_ARGS[backend])}
    if not pooled:
        options |= {"poolclass": sa.NullPool}
    elif backend != "sqlite":
        # One connection for all threads of a process, as a server has few.
        options |= {"pool_size": 1, "max_overflow": 0, "pool_timeout": POOL_TIMEOUT_S}
    if backend == "postgresql":
        # The driver begins nothing by itself: _begin_postgresql does.
        options |= {"isolation_level": "AUTOCOMMIT"}
    elif backend == "mysql":
        options |= {"isolation_level": "READ COMMITTED"}
    try:
        engine = sa.create_engine(url, **options)
    except ImportError as error:
        raise driver_errors.missing_driver(url) from error
    sa.event.listen(engine, "connect", _ON_CONNECT[backend])
    _engines.add(engine)
    if backend in _ON_BEGIN:
        sa.event.listen(engine, "begin", _ON_BEGIN[backend])
    return engine


def merge_log(engine: sa.Engine) -> None:
    """Merges SQLite's write-ahead log into the database's own file, which users may copy.

    It may fail: while other processes use the database, the last of them merges it.
    """
    if engine.dialect.name != "sqlite" or not Path(str(engine.url.database)).exists():
        return
    try:
        connection = engine.raw_connection()
    except sa.exc.SQLAlchemyError as error:
        logger.debug("the write-ahead log is not merged: %s", error)
        return
    try:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {1000 * _MERGE_TIMEOUT_S}")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        cursor.execute(f"PRAGMA busy_timeout = {1000 * BUSY_TIMEOUT_S}")
    except sqlite3.Error as error:
        logger.debug("the write-ahead log is not merged: %s", error)
    finally:
        connection.close()


def close_all() -> None:
    """Merges the logs of this process's SQLite databases, and closes all idle connections.

    It is called at the end of a process, also of one that ends by `os._exit`.
    """
    for engine in list(_engines):
        pool = engine.pool
        if isinstance(pool, sa.pool.QueuePool) and pool.checkedin():
            merge_log(engine)
        engine.dispose()


atexit.register(close_all)


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions by itself: _begin_sqlite does.
    # Source: SQLAlchemy's SQLite dialect, "Enabling Non-Legacy SQLite Transactional Modes".
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_TIMEOUT_S}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Another process is switching it on, or the file cannot be written. The next connection
            # tries again; without the log everything works, only slower.
            logger.debug("no write-ahead log yet: %s", error)


def _begin_sqlite(conn: sa.Connection) -> None:
    reads = conn.get_execution_options().get(READ_ONLY, False)
    conn.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _begin_postgresql(conn: sa.Connection) -> None:
    # Each statement that reads has a snapshot of its own anyway. A BEGIN and a COMMIT are a round
    # trip each.
    options = conn.get_execution_options()
    if not (options.get(READ_ONLY, False) or options.get(SINGLE, False)):
        conn.exec_driver_sql("BEGIN ISOLATION LEVEL READ COMMITTED")


_ON_BEGIN = {"sqlite": _begin_sqlite, "postgresql": _begin_postgresql}


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    _execute_all(connection, _POSTGRESQL_SETTINGS)


def _set_up_mysql(connection: Any, _record: Any) -> None:
    is_mariadb = "mariadb" in connection.get_server_info().lower()
    _execute_all(connection, _MYSQL_SETTINGS + (_MARIADB_SETTINGS if is_mariadb else ()))


def _execute_all(connection: Any, statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    # A rollback would undo the settings.
    connection.commit()


_ON_CONNECT = {
    "sqlite": _set_up_sqlite,
    "postgresql": _set_up_postgresql,
    "mysql": _set_up_mysql,
}
