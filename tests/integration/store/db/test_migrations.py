"""The schema: created and upgraded alike, beside Optuna's, by any number at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from optuna.storages._rdb import models as optuna_models

from hpo.cli.main import hpo
from hpo.errors import StoreError
from hpo.store.db import (
    creation,
    hpo_tables,
    migrations,
    opening,
    optuna_schema,
    optuna_tables,
    schema,
)
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies import study_records
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration


@pytest.fixture
def fresh(database_url: str) -> Iterator[Database]:
    """A database that is empty, not yet connected to."""
    db = Database(database_url)
    yield db
    db.dispose()


def _stamp(db: Database, revision: str) -> None:
    with db.write() as conn:
        conn.execute(sa.text("UPDATE hpo_alembic_version SET version_num = :r"), {"r": revision})


def _tables(db: Database) -> set[str]:
    with db.read() as conn:
        return set(sa.inspect(conn).get_table_names())


def test_a_created_schema_is_what_the_tables_say(fresh: Database) -> None:
    migrations.create(fresh)
    assert migrations.current(fresh) == migrations.head()
    assert migrations.check(fresh) == []
    ours = {
        *("hpo_study", "hpo_worker", "hpo_lease", "hpo_epoch", "hpo_event", "hpo_stack"),
        *("hpo_suggestion", "hpo_last_id"),
    }
    assert set(hpo_tables.metadata.tables) == ours
    assert _tables(fresh) == ours | optuna_tables.TABLE_NAMES | {schema.VERSION_TABLE}


def _described(url: str) -> dict[str, Any]:
    """Everything that the database tells of its tables; columns by name, as migrations add some."""
    db = Database(url)
    with db.read() as conn:
        found = sa.inspect(conn)
        described = {
            name: {
                "columns": {c["name"]: _plain(c) for c in found.get_columns(name)},
                "key": found.get_pk_constraint(name),
                "indexes": sorted(map(_plain, found.get_indexes(name))),
                "parents": sorted(map(_plain, found.get_foreign_keys(name))),
                "rows": conn.execute(sa.text(f"SELECT COUNT(*) FROM {name}")).scalar(),
            }
            for name in found.get_table_names()
        }
        if db.dialect == "sqlite":
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            described["triggers"] = {n: sql.split() for n, sql in conn.execute(sa.text(query))}
    db.dispose()
    return described


def _plain(found: Mapping[str, Any]) -> str:
    return repr(sorted((key, str(value)) for key, value in found.items()))


def test_made_at_once_it_is_what_the_migrations_make(fresh: Database) -> None:
    assert creation.create(fresh)
    at_once = _described(fresh.url)
    assert migrations.check(fresh) == []
    with fresh.write() as conn:
        by_need = [
            *optuna_models.BaseModel.metadata.sorted_tables,
            *hpo_tables.metadata.sorted_tables,
        ]
        for table in reversed(by_need):
            table.drop(conn)
        for name in (schema.VERSION_TABLE, schema.OPTUNA_VERSION_TABLE):
            conn.execute(sa.text(f"DROP TABLE {name}"))
    assert _tables(fresh) == set()
    migrations.create(fresh)
    assert _described(fresh.url) == at_once


def test_what_is_there_is_left_to_the_migrations(fresh: Database) -> None:
    with fresh.write() as conn:
        optuna_schema.create_all(conn)
    assert not creation.create(fresh)
    open_database(fresh.url, create=True).dispose()
    assert migrations.check(fresh) == []


def test_creating_twice_changes_nothing(fresh: Database) -> None:
    migrations.create(fresh)
    study_id = kit.new_study(fresh)
    migrations.create(fresh)
    migrations.upgrade(fresh)
    assert study_records.load(fresh, "s").study_id == study_id


def test_the_literal_revisions_are_those_of_the_scripts() -> None:
    scripts = ScriptDirectory.from_config(migrations._config())
    found = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(found)) == schema.REVISIONS
    assert migrations.head() == schema.HEAD
    assert optuna_schema.OPTUNA_REVISION == schema.OPTUNA_HEAD


def test_eight_threads_create_one_schema(database_url: str) -> None:
    problems: list[BaseException] = []
    barrier = threading.Barrier(8)

    def open_it() -> None:
        barrier.wait()
        try:
            open_database(database_url, create=True).dispose()
        except StoreError as error:
            problems.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    db = open_database(database_url)
    assert migrations.check(db) == []
    db.dispose()


def test_optunas_own_database_gets_our_tables_and_keeps_its_rows(fresh: Database) -> None:
    storage = optuna.storages.RDBStorage(fresh.url)
    theirs = optuna.create_study(study_name="theirs", storage=storage)
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)

    with pytest.raises(StoreError, match="holds no studies of hpo yet"):
        open_database(fresh.url)
    open_database(fresh.url, create=True).dispose()

    again = optuna.storages.RDBStorage(fresh.url)
    assert len(optuna.load_study(study_name="theirs", storage=again).trials) == 2
    assert migrations.check(fresh) == []
    for opened in (storage, again):
        opened.remove_session()
        opened.engine.dispose()


def test_an_older_schema_says_how_to_upgrade(fresh: Database) -> None:
    migrations.create(fresh)
    with (
        mock.patch.object(schema, "REVISIONS", ("0000", schema.HEAD)),
        mock.patch.object(opening, "REVISIONS", ("0000", schema.HEAD)),
    ):
        _stamp(fresh, "0000")
        with pytest.raises(
            StoreError, match=r"is revision 0000, this hpo needs .*`hpo db upgrade`"
        ):
            open_database(fresh.url)


def test_a_newer_schema_says_to_upgrade_hpo(fresh: Database) -> None:
    migrations.create(fresh)
    _stamp(fresh, "9999")
    for open_it in (
        lambda: open_database(fresh.url, create=True),
        lambda: migrations.upgrade(fresh),
    ):
        with pytest.raises(StoreError, match=r"revision 9999, made by a newer hpo .*: upgrade hpo"):
            open_it()
    assert "revision is 9999" in migrations.check(fresh)[0]


def test_another_revision_of_optunas_tables_is_refused(fresh: Database) -> None:
    migrations.create(fresh)
    with fresh.write() as conn:
        conn.execute(sa.text("UPDATE alembic_version SET version_num = 'v9.9.9.a'"))
    with pytest.raises(StoreError, match="Optuna tables are at revision v9"):
        open_database(fresh.url)
    assert any("Optuna tables" in line for line in migrations.check(fresh))


def test_a_creation_that_was_interrupted_is_completed(fresh: Database) -> None:
    """MySQL and MariaDB commit at each table: a killed process leaves some of them."""
    migrations.create(fresh)
    with fresh.write() as conn:
        conn.execute(sa.text("DROP TABLE hpo_event"))
        conn.execute(sa.text("DELETE FROM hpo_alembic_version"))
    if fresh.dialect == "sqlite":
        with fresh.write() as conn:
            for name in hpo_tables.SQLITE_TRIGGERS:
                conn.execute(sa.text(f"DROP TRIGGER {name}"))
    migrations.create(fresh)
    assert migrations.check(fresh) == []


def test_a_lost_version_table_does_not_cost_the_studies(fresh: Database) -> None:
    migrations.create(fresh)
    kit.new_study(fresh)
    with fresh.write() as conn:
        conn.execute(sa.text("DELETE FROM hpo_alembic_version"))
    with pytest.raises(
        StoreError, match="has studies of hpo, but its table hpo_alembic_version has no row"
    ):
        migrations.create(fresh)
    assert kit.states(fresh, 1) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("INSERT INTO hpo_alembic_version VALUES ('0001')", "must have one row; found 2: "),
        ("DELETE FROM hpo_alembic_version", "has no row"),
        ("DROP TABLE hpo_alembic_version", "is not there"),
        ("UPDATE hpo_alembic_version SET version_num = 'x y'", "found 'x y'"),
        ("UPDATE hpo_alembic_version SET version_num = ''", "found ''"),
    ],
)
def test_a_spoiled_version_table_is_named_by_every_command(
    sqlite_database: Database, change: str, told: str
) -> None:
    kit.new_study(sqlite_database)
    with sqlite_database.write() as conn:
        conn.execute(sa.text(change))
    for command in ("run s", "worker s", "ls", "db check", "db current", "db upgrade"):
        arguments = [*command.split(), "--storage", sqlite_database.url]
        result = CliRunner().invoke(hpo, arguments, prog_name="hpo")
        line, *hints = result.stderr.splitlines()
        assert (result.exit_code, result.stdout) == (3, ""), command
        assert "table hpo_alembic_version" in line
        assert told in line
        assert all(hint.startswith("hint: ") for hint in hints)


def test_check_tells_what_differs(fresh: Database) -> None:
    migrations.create(fresh)
    with fresh.write() as conn:
        conn.execute(sa.text("ALTER TABLE hpo_study ADD COLUMN surplus INTEGER"))
    (line,) = migrations.check(fresh)
    assert "surplus" in line


def test_our_tables_can_be_removed_again(fresh: Database) -> None:
    """A downgrade to nothing leaves Optuna's tables as they were."""
    from alembic import command

    migrations.create(fresh)
    config = migrations._config()
    with fresh.write() as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, "base")
    assert _tables(fresh) == optuna_tables.TABLE_NAMES | {schema.VERSION_TABLE}
    migrations.create(fresh)
    assert migrations.check(fresh) == []


def test_the_scripts_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_database("sqlite:///hpo.db", create=True).dispose()
    config = Config()
    assert not (Path(migrations.__file__).parents[3] / "alembic" / "__init__.py").exists()
    assert config.config_file_name is None
