"""Last ids: keep SQLite from giving the ids of deleted rows to new ones."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from hpo.store.db.hpo_tables import hpo_last_id


def above(conn: sa.Connection, key: sa.Column[Any]) -> int | None:
    """Returns the id above which a table's new rows begin; None to let the database count.

    Args:
        conn: In a writing transaction.
        key: The table's primary key.
    """
    if conn.dialect.name != "sqlite":
        return None
    last_id: int | None = conn.scalar(_statement(key))
    return last_id


@lru_cache(maxsize=4)
def _statement(key: sa.Column[Any]) -> sa.Select[Any]:
    last = hpo_last_id.c
    newest = sa.select(sa.func.coalesce(sa.func.max(key), 0)).scalar_subquery()
    return sa.select(last.last_id).where(last.name == key.table.name, last.last_id > newest)
