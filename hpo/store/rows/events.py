"""Events: the history of a study, its trials and its workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event
from hpo.tracebacks import encodable

_CHUNK = 500
"""Trials of one statement, and most events that one question returns."""
MAX_KIND = 32
"""Length of the column."""
MAX_MESSAGE = 100_000
"""Longest message kept, in characters: a traceback fits, a runaway log does not."""
NOTICE: Final = "notice"
"""Kind of the events that tell a user about the data of a study."""


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        study_id: The study.
        kind: One word: pruned, nan, oom, user_code, lost, interrupted, ...
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
    """Records events with one statement, in the caller's transaction."""
    rows = [
        {
            "at": now,
            "study_id": event.study_id,
            "trial_id": event.trial_id,
            "worker_id": event.worker_id,
            "kind": event.kind[:MAX_KIND],
            # The end of a traceback says more than its beginning.
            "message": encodable(event.message[-MAX_MESSAGE:]),
        }
        for event in events
    ]
    if rows:
        conn.execute(sa.insert(hpo_event), rows)


def record_once(db: Database, event: Event) -> None:
    """Records an event of a study, unless another worker has recorded the same."""
    column = hpo_event.c
    same = (column.study_id == event.study_id, column.kind == event.kind)

    def work(conn: sa.Connection) -> None:
        found = conn.scalars(sa.select(column.message).where(*same).limit(_CHUNK))
        # Of a traceback the last line counts: line numbers may differ.
        if _last_line(event.message) not in {_last_line(text) for text in found}:
            record(conn, [event], db.now(conn))

    db.transaction(work)


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


def newest(db: Database, study_id: int) -> int:
    """Returns the id of a study's newest event, 0 when it has none."""
    query = sa.select(sa.func.max(hpo_event.c.event_id)).where(hpo_event.c.study_id == study_id)
    with db.read() as conn:
        return conn.scalar(query) or 0


def since(db: Database, study_id: int, event_id: int, kind: str) -> list[Event]:
    """Returns the events of a kind after another one, the oldest first."""
    event = hpo_event.c
    statement = (
        sa.select(
            event.study_id, event.kind, event.message, event.trial_id, event.worker_id, event.at
        )
        .where(event.study_id == study_id, event.event_id > event_id, event.kind == kind)
        .order_by(event.event_id)
        .limit(_CHUNK)
    )
    with db.read() as conn:
        return [Event(*row) for row in conn.execute(statement)]


def last_of(conn: sa.Connection, trial_ids: Sequence[int]) -> dict[int, Event]:
    """Returns the last event of each of these trials, which says why a trial ended."""
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


def keep_notices(db: Database, study_id: int, notices: Iterable[str]) -> None:
    """Records the notices that a study does not have yet; its data may have changed meanwhile."""
    wanted = list(dict.fromkeys(notices))
    if not wanted:
        return

    def write(conn: sa.Connection) -> None:
        new = [text for text in wanted if text not in notices_of(conn, study_id)]
        record(conn, [Event(study_id, NOTICE, text) for text in new], db.now(conn))

    db.transaction(write)


def notices_of(conn: sa.Connection, study_id: int) -> tuple[str, ...]:
    """Returns a study's notices, the oldest first."""
    event = hpo_event.c
    statement = sa.select(event.message).where(event.study_id == study_id, event.kind == NOTICE)
    return tuple(dict.fromkeys(conn.scalars(statement.order_by(event.event_id))))
