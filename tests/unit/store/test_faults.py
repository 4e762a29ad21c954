from __future__ import annotations

import sqlite3

import psycopg
import pymysql
import pytest
import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store import faults

POSTGRESQL = sa.make_url("postgresql+psycopg://u:s3cret@h/d")


def _wrapped(orig: Exception) -> sa.exc.DBAPIError:
    return sa.exc.OperationalError("SELECT 1", {}, orig)


def _sqlite(code: int) -> Exception:
    error = sqlite3.OperationalError("some text")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_sqlite(sqlite3.SQLITE_BUSY), True),
        (_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (_sqlite(sqlite3.SQLITE_FULL), True),
        (_sqlite(sqlite3.SQLITE_IOERR), True),
        (_sqlite(sqlite3.SQLITE_NOTADB), False),
        (_sqlite(sqlite3.SQLITE_READONLY), False),
        (_sqlite(sqlite3.SQLITE_ERROR), False),
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.DiskFull(), True),
        (psycopg.errors.ReadOnlySqlTransaction(), True),
        (psycopg.errors.TooManyConnections(), True),
        (psycopg.errors.LockNotAvailable(), True),
        (psycopg.errors.DeadlockDetected(), True),
        (psycopg.errors.UndefinedTable(), False),
        (psycopg.errors.InvalidPassword(), False),
        (psycopg.OperationalError("connection failed: Connection refused"), True),
        (psycopg.OperationalError("server closed the connection unexpectedly"), True),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), False),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "u"'), False),
        (psycopg.ProgrammingError("can't adapt type"), False),
        (pymysql.err.OperationalError(2013, "Lost connection"), True),
        (pymysql.err.OperationalError(2003, "Can't connect"), True),
        (pymysql.err.OperationalError(1040, "Too many connections"), True),
        (pymysql.err.InterfaceError(0, ""), True),
        (pymysql.err.OperationalError(1114, "The table is full"), True),
        (pymysql.err.OperationalError(1290, "running with the --read-only option"), True),
        (pymysql.err.OperationalError(1045, "Access denied"), False),
        (pymysql.err.ProgrammingError(1146, "No such table"), False),
    ],
)
def test_outages_are_what_waiting_may_mend(error: Exception, expected: bool) -> None:
    assert faults.is_outage(_wrapped(error)) is expected
    store_error = StoreError("x")
    store_error.__cause__ = _wrapped(error)
    assert faults.is_outage(store_error) is expected


def test_other_errors_are_no_outages() -> None:
    assert not faults.is_outage(ValueError("database is locked"))
    assert not faults.is_outage(StoreError("schema is old"))
    assert faults.is_outage(ConnectionResetError())
    assert faults.is_outage(sa.exc.TimeoutError("the pool is exhausted"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.DeadlockDetected(), True),
        (psycopg.errors.SerializationFailure(), True),
        (pymysql.err.OperationalError(1213, "Deadlock found"), True),
        (pymysql.err.OperationalError(2013, "Lost connection"), False),
        (psycopg.OperationalError("refused"), False),
        (_sqlite(sqlite3.SQLITE_BUSY), False),
    ],
)
def test_conflicts_are_what_trying_again_mends(error: Exception, expected: bool) -> None:
    assert faults.is_conflict(_wrapped(error)) is expected


def test_the_drivers_words_are_masked() -> None:
    error = psycopg.OperationalError("connection to postgresql://u:s3cret@h failed: s3cret\nmore")
    explained = faults.explain(_wrapped(error), POSTGRESQL)
    assert "s3cret" not in str(explained)
    assert "\n" not in str(explained)
    assert str(explained).startswith("postgresql://u:***@h/d: the database cannot be reached")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (psycopg.errors.DiskFull("could not extend file"), "make room on the disk of its server"),
        (pymysql.err.OperationalError(1021, "Disk full"), "make room on the disk of its server"),
        (psycopg.errors.ReadOnlySqlTransaction("cannot execute"), "its server is read-only"),
        (pymysql.err.OperationalError(1290, "--read-only"), "its server is read-only"),
        (_sqlite(sqlite3.SQLITE_FULL), "make room on that disk"),
    ],
)
def test_a_database_that_cannot_be_written_says_why(error: Exception, advice: str) -> None:
    sqlite_url = sa.make_url("sqlite:////tmp/x.db")
    url = sqlite_url if isinstance(error, sqlite3.Error) else POSTGRESQL
    text = str(faults.explain(_wrapped(error), url))
    assert "cannot be written" in text
    assert advice in text
    assert str(error) in text or error.args[-1] in text


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo.store import database

    def fail(*args: object, **kwargs: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'")

    monkeypatch.setattr(database.sa, "create_engine", fail)
    with pytest.raises(StoreError, match="the driver psycopg is not installed") as caught:
        database.Database("postgresql://u:s3cret@h/d")
    assert caught.value.hint == "pip install 'hpo[postgres]'"
    with pytest.raises(StoreError) as caught:
        database.Database("mariadb://u:s3cret@h/d")
    assert caught.value.hint == "pip install 'hpo[mysql]'"
