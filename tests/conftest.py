"""Fixtures for tests on real databases: servers that start when the first test needs them."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from tests.kits.servers import MariaDB, MissingServer, PostgreSQL, Server

DIALECTS = ("sqlite", "postgresql", "mysql")
_SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "mysql": MariaDB}

GetServer = Callable[[str], Server]


def pytest_configure() -> None:
    """Lets Ctrl-C be tested in the background, too, where shells have it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def start_server(dialect: str, **options: Any) -> Server:
    """Starts a server of a dialect; the caller removes it.

    Where its programs are missing the test is skipped, and fails in CI.
    """
    try:
        return _SERVERS[dialect](**options)
    except MissingServer as error:
        if os.environ.get("CI"):
            pytest.fail(f"{error}; CI must have it", pytrace=False)
        pytest.skip(str(error))


@contextmanager
def servers() -> Iterator[GetServer]:
    """Gives the server of a dialect, started when it is first asked for, and removes them all."""
    running: dict[str, Server] = {}

    def get(dialect: str) -> Server:
        if dialect not in running:
            running[dialect] = start_server(dialect)
        return running[dialect]

    yield get
    for server in running.values():
        server.remove()


@pytest.fixture(scope="session")
def server_of() -> Iterator[GetServer]:
    """The server of a dialect, started once for all tests and stopped after the last."""
    with servers() as get:
        yield get


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn."""
    return str(request.param)


@pytest.fixture
def database_url(dialect: str, server_of: GetServer, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that is empty and this test's alone, of each kind in turn."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path / 'hpo.db'}"
        return
    server = server_of(dialect)
    name = f"hpo_{uuid.uuid4().hex[:12]}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture(scope="session")
def shared_url(server_of: GetServer) -> Callable[[str], str]:
    """The URL of one database a server that tests share one after the other."""
    urls: dict[str, str] = {}

    def get(dialect: str) -> str:
        if dialect not in urls:
            urls[dialect] = server_of(dialect).create_database("hpo_shared")
        return urls[dialect]

    return get


@pytest.fixture
def database(dialect: str, shared_url: Callable[[str], str], tmp_path: Path) -> Iterator[Database]:
    """A database with its tables, all empty, of each kind in turn."""
    # Creating one takes MariaDB most of a second; emptying one takes nothing.
    url = f"sqlite:///{tmp_path / 'hpo.db'}" if dialect == "sqlite" else shared_url(dialect)
    db = open_database(url, create=True)
    _empty(db)
    yield db
    db.dispose()


def _empty(db: Database) -> None:
    from hpo.store.db import hpo_tables, optuna_tables

    with db.write() as conn:
        for table in reversed(hpo_tables.metadata.sorted_tables):
            conn.execute(table.delete())
        for table in reversed(optuna_tables.metadata.sorted_tables):
            if table is not optuna_tables.version_info:
                conn.execute(table.delete())


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    """An SQLite database with its tables, for tests that need no other kind."""
    db = open_database(f"sqlite:///{tmp_path / 'hpo.db'}", create=True)
    yield db
    db.dispose()


@pytest.fixture
def plain_optuna(database: Database) -> Iterator[Callable[[str], Any]]:
    """Loads a study of ``database`` with Optuna's own storage, as another program would."""
    import optuna

    storage = optuna.storages.RDBStorage(database.url)
    yield lambda name: optuna.load_study(study_name=name, storage=storage)
    storage.remove_session()
    storage.engine.dispose()
