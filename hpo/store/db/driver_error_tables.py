"""Driver error tables: the meaning of each driver's errors, and what a user does about them.

The codes are those that the pinned drivers raise;
`tests/integration/store/db/test_driver_errors.py` has servers raise them.
"""

from __future__ import annotations

import sqlite3
from enum import Enum, auto
from typing import Final, NamedTuple


class ErrorKind(Enum):
    """The caller's reaction to an error."""

    CONFLICT = auto()
    """The transaction lost against another one: run it again at once."""
    CROWDED = auto()
    """No connection is free: wait for one. The database works, and others work with it."""
    OUTAGE = auto()
    """Away, locked, full or read-only: wait."""
    REFUSED = auto()
    """Waiting does not help: the user must change something."""
    FAULT = auto()
    """The database rejects a statement of hpo's."""


class DriverError(NamedTuple):
    """The meaning of an error."""

    kind: ErrorKind
    advice: str


def _outage(advice: str) -> DriverError:
    return DriverError(ErrorKind.OUTAGE, advice)


def _refused(advice: str) -> DriverError:
    return DriverError(ErrorKind.REFUSED, advice)


AWAY: Final = _outage(
    "the database cannot be reached; check that its server runs and that the address is right"
)
ENDED: Final = _outage(
    "the database cannot be reached: the server has ended the connection; check that it runs"
)
LOCKED: Final = _outage("the database was locked for too long; end the session that holds the lock")
CANCELLED: Final = _outage(
    "the server has cancelled a statement; check its limit on the time of statements"
)
FULL: Final = _outage("the database cannot be written; make room on the disk of its server")
DISK: Final = _outage("the server cannot read or write its disk; check its log")
READ_ONLY: Final = _outage("the database cannot be written; its server is read-only")
NO_MEMORY: Final = _outage("the server has too little memory; check its log")
QUOTA: Final = _outage("the user has sent as much as it may in an hour; raise its limit")
HOST_BLOCKED: Final = _outage(
    "the server blocks this machine after failed connections; run `mysqladmin flush-hosts`"
)
SERVER_CROWDED: Final = DriverError(
    ErrorKind.CROWDED,
    "the server has too many connections, none is free; raise its max_connections, or put a "
    "connection pool before it",
)
USER_CROWDED: Final = DriverError(
    ErrorKind.CROWDED,
    "too many connections for this user or database, none is free; raise its connection limit, "
    "or put a connection pool before the server",
)
OWN_CROWDED: Final = DriverError(
    ErrorKind.CROWDED, "the connection of this process is in use; the server may be slow"
)
LOST_A_RACE: Final = DriverError(
    ErrorKind.CONFLICT, "other sessions were faster, again and again; try again later"
)
WRONG_PASSWORD: Final = _refused(
    "the server refused user and password; put the right ones into the URL"
)
NO_DATABASE: Final = _refused(
    "the server has no such database; create it, or correct its name in the URL"
)
DENIED: Final = _refused("this user may not do that; grant it the privileges on this database")
NO_LOGIN: Final = _refused(
    "the server does not let this user log in; check its privileges and its password"
)
UNSAFE: Final = _refused("the connection could not be secured; check the SSL options of the URL")
WRONG_OPTION: Final = _refused(
    "the URL has an option that the driver does not know; correct the URL"
)
NO_TABLE: Final = _refused("a table is missing; run `hpo db check`")
UNKNOWN: Final = DriverError(
    ErrorKind.FAULT, "the database refused a statement; run `hpo db check`"
)

# By SQLSTATE, the longest prefix counts.
# Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
POSTGRESQL: Final = {
    "08": AWAY,
    "08P01": ENDED,
    "25006": READ_ONLY,
    "25P03": ENDED,
    "25P04": CANCELLED,
    "28": WRONG_PASSWORD,
    "3D000": NO_DATABASE,
    "40": LOST_A_RACE,
    "40003": ENDED,
    "42501": DENIED,
    "42P01": NO_TABLE,
    "53": NO_MEMORY,
    "53100": FULL,
    "53300": SERVER_CROWDED,
    "55P03": LOCKED,
    "57": CANCELLED,
    "57P01": ENDED,
    "57P02": ENDED,
    "57P03": AWAY,
    "57P04": NO_DATABASE,
    "57P05": ENDED,
    "58": DISK,
}
# psycopg has no code for a connection that failed, only the server's text.
POSTGRESQL_TEXTS: Final = {
    "too many clients": SERVER_CROWDED,
    "remaining connection slots": SERVER_CROWDED,
    "no more connections allowed": SERVER_CROWDED,  # PgBouncer
    "too many connections for": USER_CROWDED,
    "authentication failed": WRONG_PASSWORD,
    "no password supplied": WRONG_PASSWORD,
    "not permitted to log in": NO_LOGIN,
    "pg_hba.conf": NO_LOGIN,
    "permission denied": DENIED,
    "does not exist": NO_DATABASE,
    "certificate": UNSAFE,
    "does not support SSL": UNSAFE,
    "invalid connection option": WRONG_OPTION,
    "invalid port": WRONG_OPTION,
    "invalid sslmode": WRONG_OPTION,
}
_MYSQL_CODES: Final = {
    AWAY: (0, 1152, 1158, 1159, 1160, 1161, 1047, 2002, 2003, 2005, 2055),
    ENDED: (1053, 1077, 1079, 1927, 2006, 2013, 2027, 4031),
    LOCKED: (1099, 1100, 1205, 1206, 1223, 1637, 3572),
    CANCELLED: (1028, 1317, 1969, 3024),
    FULL: (1021, 1114),
    DISK: (1026, 1030, 1180, 3100),
    READ_ONLY: (1290, 1792, 1836),
    NO_MEMORY: (1037, 1038, 1041, 1135),
    HOST_BLOCKED: (1129,),
    SERVER_CROWDED: (1040,),
    USER_CROWDED: (1203,),
    LOST_A_RACE: (1020, 1213, 1613, 1614, 3101),
    WRONG_PASSWORD: (1045, 1698),
    NO_DATABASE: (1049,),
    DENIED: (1044, 1142, 1143, 1227, 1370),
    NO_LOGIN: (1130, 1251, 1820, 1862, 2059, 3118, 4151),
    UNSAFE: (2026, 3159),
    NO_TABLE: (1146,),
}
# Source: https://mariadb.com/kb/en/mariadb-error-codes/ and
# https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html
MYSQL: Final = {code: fault for fault, codes in _MYSQL_CODES.items() for code in codes}
MYSQL_LIMIT: Final = 1226
"""The user has reached a limit: of its connections, or of what it may send in an hour."""
MYSQL_NO_SPACE: Final = ("no space left", "error 28 ", "error 122 ", "errno: 28")
"""Words of the storage engine's errors that mean a full disk."""

SQLITE_OUTAGES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    }
)
SQLITE_REFUSED: Final = frozenset(
    {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
)
SQLITE_MOVED: Final = sqlite3.SQLITE_READONLY | (4 << 8)
"""The file was moved or deleted while it was open."""
_NOT_WRITABLE: Final = "{path} cannot be written; make the file and its folder writable"
_IS_LOCKED: Final = "{path} has long been locked by another process; end that process and try again"
_NO_ROOM: Final = "{path} cannot be written ({reason}); make room on that disk"
SQLITE_WORDS: Final = {
    sqlite3.SQLITE_NOTADB: "{path} is not an SQLite database; name another file",
    sqlite3.SQLITE_CORRUPT: "{path} is damaged; restore it from a backup or name another file",
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_AUTH: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: (
        "{path} cannot be opened; check that you may read and write it and its folder"
    ),
    sqlite3.SQLITE_BUSY: _IS_LOCKED,
    sqlite3.SQLITE_LOCKED: _IS_LOCKED,
    sqlite3.SQLITE_FULL: _NO_ROOM,
    sqlite3.SQLITE_IOERR: _NO_ROOM,
}
