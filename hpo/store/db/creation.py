"""Schema creation: all tables of an empty database at once.

As alembic's documentation advises, a new database needs no migrations: it gets this program's
tables and the newest revision. Loading alembic would slow the first `hpo run` by half a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import hpo_tables, optuna_schema, optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.schema import HEAD, OPTUNA_HEAD, OPTUNA_VERSION_TABLE, VERSION_TABLE
from hpo.store.db.sql_engines import BUSY_TIMEOUT_S

_LOCK_NAME: Final = "hpo_schema"
_LOCK_KEY: Final = 0x68706F
"""The letters hpo: other programs hardly lock this number."""
_ALL: Final = frozenset(
    {*hpo_tables.metadata.tables, *optuna_tables.TABLE_NAMES, VERSION_TABLE, OPTUNA_VERSION_TABLE}
)


def create(db: Database) -> bool:
    """Creates Optuna's tables and hpo's, where there are none of either.

    Returns:
        Whether they were created. If not, some exist already, or Optuna is of another version:
        ``hpo.store.db.migrations`` deals with that.
    """
    if not optuna_schema.is_known():
        return False
    with alone(db) as conn:
        if not _ALL.isdisjoint(sa.inspect(conn).get_table_names()):
            return False
        optuna_schema.create_all(conn)
        _stamp(conn, OPTUNA_VERSION_TABLE, OPTUNA_HEAD)
        hpo_tables.metadata.create_all(conn, checkfirst=False)
        if db.dialect == "sqlite":
            for trigger in hpo_tables.SQLITE_TRIGGERS.values():
                conn.execute(sa.text(trigger))
        # Last, because MySQL commits at every CREATE TABLE: without it all is created again.
        _stamp(conn, VERSION_TABLE, HEAD)
    return True


@contextmanager
def alone(db: Database) -> Iterator[sa.Connection]:
    """Opens a writing transaction during which no other process changes the schema."""
    with db.write() as conn:
        if db.dialect == "postgresql":
            conn.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        if db.dialect != "mysql":
            # SQLite's BEGIN IMMEDIATE already excludes every other writer. On both databases the
            # whole change of the schema is committed or rolled back as one.
            yield conn
            return
        # MySQL commits at every CREATE TABLE: its lock belongs to the session instead.
        lock = {"name": _LOCK_NAME, "seconds": BUSY_TIMEOUT_S}
        if conn.execute(sa.text("SELECT GET_LOCK(:name, :seconds)"), lock).scalar() != 1:
            raise StoreError(f"{db.masked_url}: another process is changing the schema; try again")
        try:
            yield conn
        finally:
            conn.execute(sa.text("SELECT RELEASE_LOCK(:name)"), {"name": _LOCK_NAME})


def _stamp(conn: sa.Connection, name: str, revision: str) -> None:
    """Writes a revision as alembic does."""
    column = sa.Column("version_num", sa.String(32), nullable=False)
    key = sa.PrimaryKeyConstraint("version_num", name=f"{name}_pkc")
    table = sa.Table(name, sa.MetaData(), column, key)
    table.create(conn)
    conn.execute(table.insert().values(version_num=revision))
