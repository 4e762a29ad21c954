"""What errors of real servers mean, as their drivers raise them, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import StoreError
from hpo.store.db import driver_errors
from hpo.store.db.driver_error_tables import ErrorKind
from tests.conftest import GetServer, servers
from tests.kits.fault_labs import (
    READ,
    WRITE,
    Lab,
    MariaDBLab,
    PostgreSQLLab,
    SQLiteLab,
)

pytestmark = pytest.mark.integration

Provoke = Callable[[Any], StoreError]
POSTGRESQL: dict[str, tuple[Provoke, ErrorKind, str]] = {
    "read-only": (
        lambda lab: lab.as_role("default_transaction_read_only = on"),
        ErrorKind.OUTAGE,
        "cannot be written; its server is read-only",
    ),
    "statement timeout": (
        lambda lab: lab.as_role("statement_timeout = '100ms'", "SELECT pg_sleep(9)"),
        ErrorKind.OUTAGE,
        "cancelled a statement",
    ),
    "lock timeout": (
        lambda lab: _locked(lab, "SET LOCAL lock_timeout = '100ms'"),
        ErrorKind.OUTAGE,
        "locked for too long",
    ),
    "killed query": (
        lambda lab: lab.interrupted(session=False),
        ErrorKind.OUTAGE,
        "cancelled a statement",
    ),
    "killed connection": (
        lambda lab: lab.interrupted(session=True),
        ErrorKind.OUTAGE,
        "ended the connection",
    ),
    "role's connections": (
        lambda lab: lab.limited("ROLE lab"),
        ErrorKind.CROWDED,
        "too many connections for this user",
    ),
    "database's connections": (
        lambda lab: lab.limited("DATABASE lab"),
        ErrorKind.CROWDED,
        "raise its connection limit",
    ),
    "max_connections": (lambda lab: _crowded(lab), ErrorKind.CROWDED, "raise its max_connections"),
    "idle in a transaction": (lambda lab: _idle(lab), ErrorKind.OUTAGE, "ended the connection"),
    "deadlock": (lambda lab: lab.deadlocked(), ErrorKind.CONFLICT, "other sessions were faster"),
    "full disk": (lambda lab: lab.full(), ErrorKind.OUTAGE, "make room on the disk of its server"),
    "restart": (lambda lab: lab.restarted(), ErrorKind.OUTAGE, "cannot be reached"),
    "stopped": (lambda lab: lab.stopped(), ErrorKind.OUTAGE, "check that its server runs"),
    "wrong password": (
        lambda lab: lab.opening(lab.url(password="y")),
        ErrorKind.REFUSED,
        "refused user and password",
    ),
    "no database": (
        lambda lab: lab.opening(lab.url(database="nope")),
        ErrorKind.REFUSED,
        "no such database",
    ),
    "no login": (lambda lab: _without_login(lab), ErrorKind.REFUSED, "let this user log in"),
    "no right": (
        lambda lab: lab.failing("CREATE TABLE more (a INT)"),
        ErrorKind.REFUSED,
        "may not do that",
    ),
    "no table": (
        lambda lab: lab.failing("SELECT 1 FROM nope"),
        ErrorKind.REFUSED,
        "table is missing",
    ),
    "no column": (
        lambda lab: lab.failing("SELECT nope FROM t"),
        ErrorKind.FAULT,
        "run `hpo db check`",
    ),
    "no statement": (lambda lab: lab.failing("SELEC 1"), ErrorKind.FAULT, "run `hpo db check`"),
}
MARIADB: dict[str, tuple[Provoke, ErrorKind, str]] = {
    "read-only": (
        lambda lab: lab.with_global("read_only", 1),
        ErrorKind.OUTAGE,
        "cannot be written; its server is read-only",
    ),
    "read-only transaction": (
        lambda lab: lab.with_global("tx_read_only", 1),
        ErrorKind.OUTAGE,
        "cannot be written; its server is read-only",
    ),
    "statement time": (
        lambda lab: lab.with_global("max_statement_time", 0.1, "SELECT SLEEP(9)"),
        ErrorKind.OUTAGE,
        "cancelled a statement",
    ),
    "lock timeout": (
        lambda lab: _locked(lab, "SET SESSION innodb_lock_wait_timeout = 1"),
        ErrorKind.OUTAGE,
        "locked for too long",
    ),
    "locked tables": (lambda lab: _tables_locked(lab), ErrorKind.OUTAGE, "locked for too long"),
    "killed query": (
        lambda lab: lab.interrupted(session=False),
        ErrorKind.OUTAGE,
        "cancelled a statement",
    ),
    "killed connection": (
        lambda lab: lab.interrupted(session=True),
        ErrorKind.OUTAGE,
        "ended the connection",
    ),
    "user's connections": (
        lambda lab: lab.limited("MAX_USER_CONNECTIONS", 1),
        ErrorKind.CROWDED,
        "too many connections for this user",
    ),
    "user's statements": (
        lambda lab: lab.limited("MAX_QUERIES_PER_HOUR", 40, *[READ] * 60),
        ErrorKind.OUTAGE,
        "in an hour",
    ),
    "max_connections": (lambda lab: _crowded(lab), ErrorKind.CROWDED, "raise its max_connections"),
    "deadlock": (lambda lab: lab.deadlocked(), ErrorKind.CONFLICT, "other sessions were faster"),
    "full disk": (lambda lab: lab.full(), ErrorKind.OUTAGE, "make room on the disk of its server"),
    "restart": (lambda lab: lab.restarted(), ErrorKind.OUTAGE, "cannot be reached"),
    "stopped": (lambda lab: lab.stopped(), ErrorKind.OUTAGE, "check that its server runs"),
    "wrong password": (
        lambda lab: lab.opening(lab.url(password="y")),
        ErrorKind.REFUSED,
        "refused user and password",
    ),
    "no database": (
        lambda lab: lab.opening(lab.url(database="nope")),
        ErrorKind.REFUSED,
        "may not do that",
    ),
    "locked account": (
        lambda lab: _without_login(lab),
        ErrorKind.REFUSED,
        "let this user log in",
    ),
    "no right": (
        lambda lab: lab.failing("CREATE TABLE more (a INT)"),
        ErrorKind.REFUSED,
        "may not do that",
    ),
    "no table": (
        lambda lab: lab.failing("SELECT 1 FROM nope"),
        ErrorKind.REFUSED,
        "table is missing",
    ),
    "no column": (
        lambda lab: lab.failing("SELECT nope FROM t"),
        ErrorKind.FAULT,
        "run `hpo db check`",
    ),
    "no statement": (lambda lab: lab.failing("SELEC 1"), ErrorKind.FAULT, "run `hpo db check`"),
}
SQLITE: dict[str, tuple[Provoke, ErrorKind, str]] = {
    "locked": (lambda lab: lab.locked(), ErrorKind.OUTAGE, "locked by another process"),
    "full": (lambda lab: lab.full(), ErrorKind.OUTAGE, "make room on that disk"),
    "read-only": (
        lambda lab: lab.read_only(),
        ErrorKind.OUTAGE,
        "make the file and its folder writ",
    ),
    "moved": (lambda lab: lab.moved(), ErrorKind.OUTAGE, "was moved away or deleted"),
    "no table": (
        lambda lab: lab.failing("SELECT 1 FROM nope"),
        ErrorKind.REFUSED,
        "table is missing",
    ),
    "no column": (
        lambda lab: lab.failing("SELECT nope FROM t"),
        ErrorKind.FAULT,
        "run `hpo db check`",
    ),
}


@pytest.fixture(scope="module")
def own_server_of() -> Iterator[GetServer]:
    """Servers of their own, which these tests may stop."""
    with servers() as get:
        yield get


@pytest.fixture(scope="module")
def postgresql(
    own_server_of: GetServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgreSQLLab]:
    lab = PostgreSQLLab(own_server_of("postgresql"), tmp_path_factory.mktemp("postgresql"))
    yield lab
    lab.db.dispose()


@pytest.fixture(scope="module")
def mariadb(
    own_server_of: GetServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MariaDBLab]:
    lab = MariaDBLab(own_server_of("mysql"), tmp_path_factory.mktemp("mariadb"))
    yield lab
    lab.db.dispose()


@pytest.mark.parametrize("name", POSTGRESQL)
def test_faults_of_postgresql(postgresql: PostgreSQLLab, name: str) -> None:
    _assert_fault(postgresql, *POSTGRESQL[name])


@pytest.mark.parametrize("name", MARIADB)
def test_faults_of_mariadb(mariadb: MariaDBLab, name: str) -> None:
    _assert_fault(mariadb, *MARIADB[name])


@pytest.mark.parametrize("name", SQLITE)
def test_faults_of_sqlite(tmp_path: Path, name: str) -> None:
    lab = SQLiteLab(tmp_path)
    _assert_fault(lab, *SQLITE[name])
    lab.db.dispose()


def test_a_file_that_is_replaced_is_an_outage_until_it_is_back(tmp_path: Path) -> None:
    lab = SQLiteLab(tmp_path)
    with lab.replaced():
        error = lab.failing()
        assert driver_errors.kind_of(error) is ErrorKind.OUTAGE
        assert "was replaced by another file" in str(error)
    lab.write()
    with lab.db.read() as conn:
        assert conn.exec_driver_sql(READ).scalar() == 201
    lab.db.dispose()


def _assert_fault(lab: Any, provoke: Provoke, kind: ErrorKind, words: str) -> None:
    error = provoke(lab)
    assert driver_errors.kind_of(error) is kind
    assert words in str(error)
    assert "\n" not in str(error)
    assert driver_errors.is_outage(error) is (
        kind in (ErrorKind.OUTAGE, ErrorKind.CROWDED, ErrorKind.CONFLICT)
    )
    assert driver_errors.is_crowded(error) is (kind is ErrorKind.CROWDED)
    # It is over, and the next transaction has a session that knows it.
    lab.write()


def _locked(lab: Lab, setting: str) -> StoreError:
    with lab.locked():
        return lab.failing(setting, WRITE)


def _tables_locked(lab: MariaDBLab) -> StoreError:
    with lab.session() as conn:
        conn.exec_driver_sql("FLUSH TABLES WITH READ LOCK")
        return lab.failing("SET SESSION lock_wait_timeout = 1", WRITE)


def _idle(lab: Lab) -> StoreError:
    setting = "SET LOCAL idle_in_transaction_session_timeout = '20ms'"
    return lab.failing_amid(lambda: lab.admin("SELECT pg_sleep(0.5)"), setting)


def _crowded(lab: Lab) -> StoreError:
    if isinstance(lab, MariaDBLab):
        lab.admin("SET GLOBAL max_connections = 12")
    with lab.crowd(120):
        error = lab.failing()
    if isinstance(lab, MariaDBLab):
        lab.admin("SET GLOBAL max_connections = 200")
    return error


def _without_login(lab: Lab) -> StoreError:
    shut, let_in = (
        ("ALTER ROLE lab NOLOGIN", "ALTER ROLE lab LOGIN")
        if isinstance(lab, PostgreSQLLab)
        else (f"ALTER USER 'lab'@'127.0.0.1' ACCOUNT {verb}" for verb in ("LOCK", "UNLOCK"))
    )
    lab.admin(shut)
    error = lab.opening(lab.url())
    lab.admin(let_in)
    return error
