"""Notices: what a person should know of a study's data, kept as events of a kind of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event
from hpo.store.rows import events
from hpo.store.rows.events import Event

NOTICE: Final = "notice"


def keep(db: Database, study_id: int, notices: Iterable[str]) -> None:
    """Keeps what is not known yet; a table may have changed since the study began."""
    wanted = list(dict.fromkeys(notices))
    if not wanted:
        return

    def write(conn: sa.Connection) -> None:
        new = [text for text in wanted if text not in of(conn, study_id)]
        events.record(conn, [Event(study_id, NOTICE, text) for text in new], db.now(conn))

    db.transaction(write)


def of(conn: sa.Connection, study_id: int) -> tuple[str, ...]:
    """Returns a study's notices, the oldest first."""
    event = hpo_event.c
    statement = sa.select(event.message).where(event.study_id == study_id, event.kind == NOTICE)
    return tuple(dict.fromkeys(conn.scalars(statement.order_by(event.event_id))))
