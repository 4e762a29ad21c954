"""Events: what is worth knowing later about a study, its trials and its workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hpo.store.database import Database
from hpo.store.tables import hpo_event

_CHUNK = 500
MAX_KIND = 32
MAX_MESSAGE = 100_000
"""Longest message kept, in characters: a traceback fits, a runaway log does not."""


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        study_id: The study.
        kind: In a word: pruned, nan, oom, user_code, lost, interrupted, ...
        message: In full.
        trial_id: The trial it is about, if any.
        worker_id: The worker it is about, if any.
        at: Naive UTC by the database's clock; set when it is recorded.
    """

    study_id: int
    kind: str
    message: str = ""
    trial_id: int | None = None
    worker_id: int | None = None
    at: datetime | None = None


def record(conn: sa.Connection, events: Iterable[Event], now: datetime) -> None:
    """Adds events with one statement, in the caller's transaction."""
    rows = [
        {
            "at": now,
            "study_id": event.study_id,
            "trial_id": event.trial_id,
            "worker_id": event.worker_id,
            "kind": event.kind[:MAX_KIND],
            # The end of a traceback says more than its beginning. PostgreSQL takes no NUL.
            "message": event.message[-MAX_MESSAGE:].replace("\0", ""),
        }
        for event in events
    ]
    if rows:
        conn.execute(sa.insert(hpo_event), rows)


def last_of(conn: sa.Connection, trial_ids: Sequence[int]) -> dict[int, Event]:
    """Returns the last event of each of these trials that has one: it tells why a trial ended."""
    event = hpo_event.c
    found: dict[int, Event] = {}
    for start in range(0, len(trial_ids), _CHUNK):
        some = trial_ids[start : start + _CHUNK]
        last = sa.select(sa.func.max(event.event_id)).where(event.trial_id.in_(some))
        statement = sa.select(
            event.study_id, event.kind, event.message, event.trial_id, event.worker_id, event.at
        ).where(event.event_id.in_(last.group_by(event.trial_id)))
        found |= {row.trial_id: Event(*row) for row in conn.execute(statement)}
    return found


def recent(
    db: Database, study_id: int, *, trial_id: int | None = None, limit: int = 100
) -> list[Event]:
    """Returns the last events of a study, or of one of its trials, newest first."""
    event = hpo_event.c
    statement = (
        sa.select(
            event.study_id, event.kind, event.message, event.trial_id, event.worker_id, event.at
        )
        .where(event.study_id == study_id)
        .order_by(event.event_id.desc())
        .limit(limit)
    )
    if trial_id is not None:
        statement = statement.where(event.trial_id == trial_id)
    with db.read() as conn:
        return [Event(*row) for row in conn.execute(statement)]
