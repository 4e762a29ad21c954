"""Decision log: what each decision of the search was made from, as its worker recorded it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_suggestion


class Suggestion(NamedTuple):
    """One record of a worker.

    Attributes:
        worker_id: The worker that made it.
        at: When; naive UTC by the database's clock.
        record: As `hpo.search.base.decision_replay` reads it.
        suggestion_id: Of its row.
    """

    worker_id: int | None
    at: datetime
    record: str
    suggestion_id: int = 0


def add(db: Database, study_id: int, worker_id: int, record: str) -> None:
    """Adds a record, in a transaction that locks nothing."""

    def write(conn: sa.Connection) -> None:
        row = {"study_id": study_id, "worker_id": worker_id, "record": record, "at": db.now(conn)}
        conn.execute(sa.insert(hpo_suggestion).values(**row))

    db.transaction(write)


def of_study(db: Database, study_id: int) -> list[Suggestion]:
    """Returns all records of a study, the oldest first."""
    column = hpo_suggestion.c
    statement = (
        sa.select(column.worker_id, column.at, column.record, column.suggestion_id)
        .where(column.study_id == study_id)
        .order_by(column.suggestion_id)
    )
    with db.read() as conn:
        return [Suggestion(*row) for row in conn.execute(statement)]


def newest(db: Database, study_id: int) -> str | None:
    """Returns the last record of a study; None where there is none."""
    column = hpo_suggestion.c
    statement = (
        sa.select(column.record)
        .where(column.study_id == study_id)
        .order_by(column.suggestion_id.desc())
        .limit(1)
    )
    with db.read() as conn:
        return conn.execute(statement).scalar_one_or_none()
