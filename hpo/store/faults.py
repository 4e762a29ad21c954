"""What an error of the database means: wait, try again at once, or tell the user what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store import urls

EXTRAS = {"postgresql": "postgres", "mysql": "mysql"}

_SQLITE_OUTAGES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
    }
)
# Classes 08 (connection) and 53 (out of resources), then single codes: shutdown, crash, starting
# up, cancelled, idle timeout, lock timeout, read-only (such as until a standby takes over).
# Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_OUTAGES = (
    *("08", "53", "57P01", "57P02", "57P03", "57P05", "57014"),
    *("25P03", "55P03", "25006"),
)
_POSTGRESQL_CONFLICTS = ("40001", "40P01")
# psycopg gives no code for a connection that failed: its text tells what waiting cannot mend.
_POSTGRESQL_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "permission denied",
    "not permitted to log in",
    "invalid connection option",
    "invalid port",
    "certificate",
)
# Source: https://mariadb.com/kb/en/mariadb-error-codes/
_MYSQL_FULL = frozenset({1021, 1114})
_MYSQL_READ_ONLY = frozenset({1290, 1792, 1836})
_MYSQL_OUTAGES = frozenset(
    {0, 1040, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1203, 1317, 1927}
    | {2002, 2003, 2006, 2013, 2055, 3024, 4031}
    | _MYSQL_FULL
    | _MYSQL_READ_ONLY
)
_MYSQL_CONFLICTS = frozenset({1020, 1205, 1213})


def is_outage(error: BaseException) -> bool:
    """Tells whether waiting may mend this error: server gone, locked, disk full."""
    if any(isinstance(link, sa.exc.TimeoutError | ConnectionError) for link in _chain(error)):
        return True
    driver_error = _driver_error(error)
    if driver_error is None:
        return False
    if isinstance(driver_error, sqlite3.Error):
        return _sqlite_code(driver_error) in _SQLITE_OUTAGES
    state = _sqlstate(driver_error)
    if state is not None:
        return state.startswith(_POSTGRESQL_OUTAGES + _POSTGRESQL_CONFLICTS)
    if _is_mysql(driver_error):
        return _mysql_code(driver_error) in _MYSQL_OUTAGES | _MYSQL_CONFLICTS
    # psycopg without a code: the connection broke or could not be made.
    refused = any(phrase in str(driver_error) for phrase in _POSTGRESQL_REFUSALS)
    return type(driver_error).__name__ in ("OperationalError", "InterfaceError") and not refused


def is_conflict(error: BaseException) -> bool:
    """Tells whether the transaction lost against another one and should simply be run again."""
    driver_error = _driver_error(error)
    if driver_error is None or isinstance(driver_error, sqlite3.Error):
        return False
    state = _sqlstate(driver_error)
    if state is not None:
        return state in _POSTGRESQL_CONFLICTS
    return _is_mysql(driver_error) and _mysql_code(driver_error) in _MYSQL_CONFLICTS


def is_missing_table(error: BaseException) -> bool:
    """Tells whether a statement named a table that the database does not have."""
    driver_error = _driver_error(error)
    if driver_error is None:
        return False
    return (
        str(driver_error).startswith("no such table")
        or _sqlstate(driver_error) == "42P01"
        or (_is_mysql(driver_error) and _mysql_code(driver_error) == 1146)
    )


def explain(error: BaseException, url: sa.URL) -> StoreError:
    """Returns the one line for the user: what is wrong with the database and what to do.

    The original error is to be chained by the caller; `is_outage` looks through the chain.
    """
    shown = urls.shown(url)
    driver_error = _driver_error(error)
    if isinstance(driver_error, sqlite3.Error):
        return StoreError(_explain_sqlite(driver_error, Path(str(url.database))))
    reason = urls.mask(_first_line(driver_error or error), url.password)
    return StoreError(f"{shown}: {_advice(driver_error or error)} ({reason})")


def missing_driver(url: sa.URL) -> StoreError:
    """Returns the error for a database whose driver is not installed."""
    backend = url.get_backend_name()
    return StoreError(
        f"{urls.shown(url)}: the driver {url.get_driver_name()} is not installed",
        hint=f"pip install 'hpo[{EXTRAS[backend]}]'",
    )


def _advice(error: BaseException) -> str:
    if is_missing_table(error):
        return "a table is missing; run `hpo db check`"
    text = str(error)
    code = _mysql_code(error) if _is_mysql(error) else None
    if code == 1045 or any(s in text for s in ("authentication failed", "no password supplied")):
        return "the server refused user and password; put the right ones into the URL"
    if code == 1049 or ("database" in text and "does not exist" in text):
        return "the server has no such database; create it first, or mend its name in the URL"
    if code in (1044, 1142) or "permission denied" in text:
        return "this user may not do that; grant it the rights on this database"
    if code in _MYSQL_FULL or _sqlstate(error) == "53100":
        return "the database cannot be written; make room on the disk of its server"
    if code in _MYSQL_READ_ONLY or _sqlstate(error) == "25006":
        return "the database cannot be written; its server is read-only"
    if is_outage(error):
        return "the database cannot be reached; see that its server runs and the address is right"
    return "the database refused; run `hpo db check`"


def _explain_sqlite(error: sqlite3.Error, path: Path) -> str:
    code = _sqlite_code(error)
    if path.is_dir():
        return f"{path} is a folder; name a file in it, as in {path}/hpo.db"
    if not path.parent.is_dir():
        return f"{path}: the folder {path.parent} does not exist; create it or name another file"
    if code == sqlite3.SQLITE_NOTADB:
        return f"{path} is not an SQLite database; name another file"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"{path} is damaged; restore it from a backup or name another file"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return f"{path} cannot be written; make the file and its folder writable"
    if code == sqlite3.SQLITE_CANTOPEN:
        return f"{path} cannot be opened; see that you may read and write it and its folder"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{path} has long been locked by another process; end that process and try again"
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return f"{path} cannot be written ({_first_line(error)}); make room on that disk"
    if is_missing_table(error):
        return f"{path}: a table is missing ({_first_line(error)}); run `hpo db check`"
    return f"{path}: {_first_line(error)}; run `hpo db check`"


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


def _sqlite_code(error: sqlite3.Error) -> int:
    # The lower byte is the primary code, the rest tells more than is needed here.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def _is_mysql(error: BaseException) -> bool:
    return type(error).__module__.startswith("pymysql")


def _mysql_code(error: BaseException) -> int:
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0
