"""Databases that older versions have left are upgraded, and nothing in them is lost."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from click.testing import CliRunner

from hpo.cli.main import hpo
from hpo.errors import StoreError
from hpo.report.overview import overview
from hpo.report.study_queries import find
from hpo.store.db import migrations, optuna_schema, optuna_tables, schema
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import study_records
from tests.integration.snapshots.make import FOLDER, make
from tests.kits import ledger_kit as kit

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
OLDER = schema.REVISIONS[:-1]
FILLED = ("hpo_study", "hpo_worker", "hpo_lease", "hpo_epoch", "hpo_event")
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'old.db'}"


def _load(revision: str, folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "old.db")
    connection.executescript((FOLDER / f"{revision}.sql").read_text(encoding="utf-8"))
    return connection


def _rows(conn: sa.Connection, columns_of: dict[str, list[str]]) -> Rows:
    """Returns the rows of tables, in these columns, in an order of their own."""
    found = {}
    for name, columns in columns_of.items():
        table = sa.table(name, *map(sa.column, columns))
        found[name] = sorted(map(tuple, conn.execute(sa.select(table))), key=repr)
    return found


def _columns(engine: sa.Engine) -> dict[str, list[str]]:
    inspector = sa.inspect(engine)
    names = set(inspector.get_table_names()) - {schema.VERSION_TABLE}
    return {name: [c["name"] for c in inspector.get_columns(name)] for name in sorted(names)}


def _hpo(*arguments: str, url: str) -> str:
    result = CliRunner().invoke(hpo, [*arguments, "--storage", url], prog_name="hpo")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_revision_has_a_snapshot() -> None:
    """A new revision needs `python -m tests.integration.snapshots.make`, once."""
    scripts = ScriptDirectory.from_config(migrations._config()).walk_revisions()
    revisions = {script.revision for script in scripts}
    assert {path.stem for path in FOLDER.glob("*.sql")} == revisions
    for revision in revisions:
        text = (FOLDER / f"{revision}.sql").read_text(encoding="utf-8")
        assert f"INSERT INTO \"{schema.VERSION_TABLE}\" VALUES('{revision}');" in text


@pytest.mark.parametrize("revision", schema.REVISIONS)
def test_a_snapshot_is_upgraded_with_all_its_rows(revision: str, tmp_path: Path, url: str) -> None:
    _load(revision, tmp_path).close()
    db = Database(url)
    if revision != schema.HEAD:
        with pytest.raises(StoreError, match=f"revision {revision}, .*`hpo db upgrade`"):
            open_database(url, create=True)
    columns = _columns(db.engine)
    with db.read() as conn:
        before = _rows(conn, columns)
    assert f"is at revision {schema.HEAD}" in _hpo("db", "upgrade", url=url)
    assert migrations.check(db) == []
    with db.read() as conn:
        assert _rows(conn, columns) == before
    assert all(before[name] for name in FILLED)
    db.dispose()


@pytest.mark.parametrize("revision", schema.REVISIONS)
def test_an_upgraded_study_is_read_and_goes_on(revision: str, tmp_path: Path, url: str) -> None:
    _load(revision, tmp_path).close()
    migrations.upgrade(db := Database(url))
    listed = json.loads(_hpo("ls", "-f", "json", url=url))
    assert [(study["name"], study["best"]) for study in listed][:1] == [("digits", 0.75)]
    page = _hpo("show", "digits", url=url)
    assert "5 of 10: 3 complete, 1 pruned, 1 failed, 1 waiting" in page
    assert "broken on purpose" in page
    assert len(json.loads(_hpo("trials", "digits", "-f", "json", url=url))) == 6
    study_id = study_records.load(db, "digits").study_id
    worker_id = kit.new_worker(db, study_id)
    ledger = Ledger(db)
    # Its worker is of another machine, and silent while this one is heard.
    kit.pass_time(db, 120.0, heard=[worker_id])
    (going_on, new) = ledger.claim(study_id, worker_id, 2).leases
    assert (going_on.number, going_on.epoch, going_on.attempt, new.number) == (5, 2, 2, 6)
    assert ledger.report([kit.epoch_row(lease, lease.epoch + 1) for lease in (going_on, new)]) == (
        set()
    )
    db.dispose()


@pytest.fixture
def server(dialect: str, database_url: str) -> Iterator[Database]:
    if dialect == "sqlite":
        pytest.skip("SQLite loads the snapshot itself")
    db = Database(database_url)
    yield db
    db.dispose()


@pytest.mark.parametrize("revision", OLDER)
def test_the_same_rows_are_upgraded_on_a_server(
    revision: str, server: Database, tmp_path: Path, url: str
) -> None:
    """The tables as the revision made them there, with the rows of the snapshot."""
    _load(revision, tmp_path).close()
    config = migrations._config()
    with server.write() as conn:
        optuna_schema.create_all_and_stamp(conn)
        config.attributes["connection"] = conn
        command.upgrade(config, revision)
    source = Database(url)
    ours = {name for name in _columns(source.engine) if name.startswith("hpo_")}
    _copy(source, server, sa.MetaData(), ours)
    columns = _columns(source.engine)
    with server.read() as conn:
        before = _rows(conn, columns)
    migrations.upgrade(server)
    assert migrations.check(server) == []
    with server.read() as conn:
        assert _rows(conn, columns) == before
    assert overview(server, find(server, "digits")).counts.complete == 3
    source.dispose()


def _copy(source: Database, target: Database, reflected: sa.MetaData, ours: set[str]) -> None:
    """Copies Optuna's rows and ours, in the types that the source's tables have."""
    reflected.reflect(source.engine, only=lambda name, _: name in ours)
    theirs = [
        table for table in optuna_tables.metadata.sorted_tables if table.name != "version_info"
    ]
    # A lease names its worker.
    order = sorted(ours, key=lambda name: (name == "hpo_lease", name))
    with source.read() as reading, target.write() as writing:
        for table in [*theirs, *(reflected.tables[name] for name in order)]:
            rows = [dict(row) for row in reading.execute(sa.select(table)).mappings()]
            if rows:
                writing.execute(sa.insert(table), rows)


def test_a_snapshot_is_made_of_this_version_and_never_over_another(tmp_path: Path) -> None:
    path = make(schema.HEAD, tmp_path)
    text = path.read_text(encoding="utf-8")
    shutil.copy(path, tmp_path / "copy.sql")
    with pytest.raises(SystemExit, match="is there already"):
        make(schema.HEAD, tmp_path)
    assert path.read_text(encoding="utf-8") == text
    connection = sqlite3.connect(":memory:")
    connection.executescript(text)
    assert connection.execute("SELECT DISTINCT host FROM hpo_worker").fetchall() == [("host",)]
    connection.close()
