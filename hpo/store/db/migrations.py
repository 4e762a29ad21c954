"""Migrations: the schema created and upgraded, Optuna's tables first, then hpo's with alembic."""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from hpo.errors import StoreError
from hpo.store.db import hpo_tables, optuna_schema
from hpo.store.db.creation import alone
from hpo.store.db.database import Database
from hpo.store.db.schema import REVISIONS, VERSION_TABLE, only_row

logger = logging.getLogger(__name__)


def create(db: Database) -> None:
    """Creates missing tables: Optuna's, then hpo's. Safe to repeat and to run in parallel.

    Raises:
        StoreError: Optuna's tables are there at a revision that this program does not know.
    """
    with alone(db) as conn:
        optuna_schema.create_all_and_stamp(conn)
        if _current(conn) is None:
            _drop_remains(conn)
            _upgrade(conn)
            logger.debug("created the tables of hpo in %s", db.masked_url)


def upgrade(db: Database) -> None:
    """Upgrades hpo's tables to `head`, and creates missing ones.

    Raises:
        StoreError: The schema is newer than this program, or Optuna's is of another revision.
    """
    create(db)
    with alone(db) as conn:
        revision = _current(conn)
        if revision not in REVISIONS:
            raise StoreError(
                f"{db.masked_url}: the schema is revision {revision}, made by a newer hpo "
                f"(this one knows {head()}): upgrade hpo"
            )
        _upgrade(conn)


def current(db: Database) -> str | None:
    """Returns the revision of hpo's tables, or None where there are none."""
    with db.read() as conn:
        return _current(conn)


def head() -> str:
    """Returns the newest revision among the migration scripts."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def check(db: Database) -> list[str]:
    """Compares the tables in the database with those of this program.

    Returns:
        One line for each difference; empty when all is well.
    """
    with db.read() as conn:
        revision = _current(conn)
        found = [] if revision == head() else [f"revision is {revision}, should be {head()}"]
        found += [_describe(difference) for difference in _differences(conn)]
        if db.dialect == "sqlite":
            found += [
                f"trigger {name} is missing"
                for name in sorted(set(hpo_tables.SQLITE_TRIGGERS) - _triggers(conn))
            ]
    try:
        with db.read() as conn:
            optuna_schema.check_version(conn)
    except StoreError as error:
        found.append(error.message)
    return found


def _config() -> Config:
    # In a checkout the scripts stand beside the package, in a wheel within it.
    package = Path(__file__).resolve().parents[2]
    candidates = (package / "_alembic", package.parent / "alembic")
    scripts = next(path for path in candidates if (path / "env.py").is_file())
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(conn: sa.Connection) -> None:
    config = _config()
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _current(conn: sa.Connection) -> str | None:
    context = MigrationContext.configure(conn, opts={"version_table": VERSION_TABLE})
    revision = only_row(context.get_current_heads(), VERSION_TABLE)
    if revision is None and _has_studies(conn):
        what = "has no row" if sa.inspect(conn).has_table(VERSION_TABLE) else "is not there"
        raise StoreError(
            f"the database has studies of hpo, but its table {VERSION_TABLE} {what}",
            hint="restore it from a backup, or write the revision into it that made the tables",
        )
    return revision


def _has_studies(conn: sa.Connection) -> bool:
    if not _has(conn, hpo_tables.hpo_study):
        return False
    return conn.scalar(sa.select(hpo_tables.hpo_study.c.study_id).limit(1)) is not None


def _drop_remains(conn: sa.Connection) -> None:
    """Removes what an interrupted creation left on MySQL: tables, but no revision."""
    present = [table for table in hpo_tables.metadata.sorted_tables if _has(conn, table)]
    for table in reversed(present):
        table.drop(conn)


def _has(conn: sa.Connection, table: sa.Table) -> bool:
    return sa.inspect(conn).has_table(table.name)


def _triggers(conn: sa.Connection) -> set[str]:
    return set(conn.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")))


def _differences(conn: sa.Connection) -> list[object]:
    def is_ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or name in hpo_tables.metadata.tables

    options = {"version_table": VERSION_TABLE, "include_name": is_ours, "compare_type": True}
    context = MigrationContext.configure(conn, opts=options)
    return list(compare_metadata(context, hpo_tables.metadata))


def _describe(difference: object) -> str:
    return " ".join(str(difference).split())
