"""Driver errors: classified into wait, try again at once, or tell the user what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import driver_error_tables as tables
from hpo.store.db import urls
from hpo.store.db.driver_error_tables import DriverError, ErrorKind

__all__ = [
    "explain",
    "is_conflict",
    "is_crowded",
    "is_missing_table",
    "is_outage",
    "kind_of",
    "missing_driver",
]

EXTRAS = {"postgresql": "postgres", "mysql": "mysql"}


def kind_of(error: BaseException) -> ErrorKind:
    """Returns how to handle an error; for errors of no database, `FAULT`."""
    return _classify(error).kind


def is_outage(error: BaseException) -> bool:
    """Returns whether waiting may help: server gone or crowded, locked, disk full."""
    return kind_of(error) in (ErrorKind.OUTAGE, ErrorKind.CROWDED, ErrorKind.CONFLICT)


def is_crowded(error: BaseException) -> bool:
    """Returns whether no connection was free: the database itself works."""
    return kind_of(error) is ErrorKind.CROWDED


def is_conflict(error: BaseException) -> bool:
    """Returns whether the transaction lost against another one and should simply be run again."""
    return kind_of(error) is ErrorKind.CONFLICT


def is_missing_table(error: BaseException) -> bool:
    """Returns whether a statement named a table that the database does not have."""
    return _classify(error) is tables.NO_TABLE


def explain(error: BaseException, url: sa.URL) -> StoreError:
    """Returns one line for the user: what is wrong with the database and what to do.

    The caller must chain the original error; `is_outage` looks through the chain.
    """
    driver_error = _driver_error(error)
    if isinstance(driver_error, sqlite3.Error):
        return StoreError(_explain_sqlite(driver_error, Path(str(url.database))))
    reason = urls.mask(_first_line(driver_error or error), url.password)
    return StoreError(f"{urls.shown(url)}: {_classify(error).advice} ({reason})")


def missing_driver(url: sa.URL) -> StoreError:
    """Returns the error for a database whose driver is not installed."""
    backend = url.get_backend_name()
    return StoreError(
        f"{urls.shown(url)}: the driver {url.get_driver_name()} is not installed",
        hint=f"pip install 'hpo[{EXTRAS[backend]}]'",
    )


def _classify(error: BaseException) -> DriverError:
    links = list(_chain(error))
    if any(isinstance(link, sa.exc.TimeoutError) for link in links):
        return tables.OWN_CROWDED
    driver_error = _driver_error(error)
    # By the driver first: psycopg's and PyMySQL's errors both have a `sqlstate`, and the same state
    # means different things on different servers.
    if driver_error is None:
        is_broken = any(isinstance(link, ConnectionError) for link in links)
        return tables.AWAY if is_broken else tables.UNKNOWN
    if isinstance(driver_error, sqlite3.Error):
        return _classify_sqlite(driver_error)
    if _is_mysql(driver_error):
        return _classify_mysql(driver_error)
    return _classify_postgresql(driver_error)


def _classify_postgresql(error: BaseException) -> DriverError:
    state, text = _sqlstate(error), str(error)
    if state is not None:
        prefixes = (state[:length] for length in (5, 2))
        found = next((p for p in prefixes if p in tables.POSTGRESQL), None)
        return tables.POSTGRESQL[found] if found else tables.UNKNOWN
    for words, fault in tables.POSTGRESQL_TEXTS.items():
        if words in text:
            return fault
    # The connection broke, or failed to open.
    names = {parent.__name__ for parent in type(error).__mro__}
    return tables.AWAY if names & {"OperationalError", "InterfaceError"} else tables.UNKNOWN


def _classify_mysql(error: BaseException) -> DriverError:
    code, text = _mysql_code(error), str(error).lower()
    if code == tables.MYSQL_LIMIT:
        return tables.USER_CROWDED if "connections" in text else tables.QUOTA
    fault = tables.MYSQL.get(code)
    if fault is tables.DISK and any(words in text for words in tables.MYSQL_NO_SPACE):
        return tables.FULL
    if fault is not None:
        return fault
    state = _sqlstate(error) or ""
    return {"08": tables.AWAY, "40": tables.LOST_A_RACE}.get(state[:2], tables.UNKNOWN)


def _classify_sqlite(error: sqlite3.Error) -> DriverError:
    if str(error).startswith("no such table"):
        return tables.NO_TABLE
    code = _sqlite_code(error)
    if code in tables.SQLITE_OUTAGES:
        return tables.LOCKED  # Only its kind counts: `_explain_sqlite` writes the text.
    return tables.DENIED if code in tables.SQLITE_REFUSED else tables.UNKNOWN


def _explain_sqlite(error: sqlite3.Error, path: Path) -> str:
    code = _sqlite_code(error)
    if path.is_dir():
        return f"{path} is a folder; name a file in it, as in {path}/hpo.db"
    if not path.parent.is_dir():
        return f"{path}: the folder {path.parent} does not exist; create it or name another file"
    if _full_sqlite_code(error) == tables.SQLITE_MOVED or (
        code == sqlite3.SQLITE_CANTOPEN and not path.exists()
    ):
        return f"{path} is gone; put it back if it was moved"
    if is_missing_table(error):
        return f"{path}: a table is missing ({_first_line(error)}); run `hpo db check`"
    words = tables.SQLITE_WORDS.get(code, "{path}: {reason}; run `hpo db check`")
    return words.format(path=path, reason=_first_line(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or getattr(link, "orig", None)


def _driver_error(error: BaseException) -> BaseException | None:
    for link in _chain(error):
        if type(link).__module__.partition(".")[0] in ("sqlite3", "psycopg", "pymysql"):
            return link
    return None


def _first_line(error: BaseException) -> str:
    if _is_mysql(error) and len(error.args) > 1:
        return str(error.args[1]).partition("\n")[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _full_sqlite_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)


def _sqlite_code(error: sqlite3.Error) -> int:
    # The lower byte is the primary code, the rest tells more than is needed here.
    return _full_sqlite_code(error) & 0xFF


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def _is_mysql(error: BaseException) -> bool:
    return type(error).__module__.startswith("pymysql")


def _mysql_code(error: BaseException) -> int:
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0
