"""Worker states: which workers live, which are silent, and which have died without a word."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.rows import worker_list
from hpo.store.rows.worker_list import WorkerRow
from hpo.store.studies.trial_states import GRACE_S

LIVE, SILENT, DEAD = "live", "silent", "dead"
SILENT_S: Final = GRACE_S / 3
"""A live worker sends several heartbeats within this time."""
_REMEMBERED: Final = datetime.timedelta(days=1)
_MOST_DEAD: Final = 8


@dataclass(frozen=True)
class WorkerState:
    """A worker, and whether it lives.

    Attributes:
        state: `LIVE`; `SILENT` if its last heartbeat is older than `SILENT_S`; `DEAD` if it is
            older than a minute, or its process on this machine is gone.
        n_trials: Trials that it holds.
    """

    worker: WorkerRow
    state: str
    n_trials: int


def worker_states(
    conn: Connection, now: datetime.datetime, study_id: int | None = None
) -> tuple[WorkerState, ...]:
    """Returns the workers that have not ended, of one study or of all, by their ids.

    Of the dead ones only the newest are included, and those that hold trials, which wait for a
    worker that resumes them.

    Args:
        now: The database's clock.
    """
    rows = worker_list.unended(conn, study_id)
    live = worker_list.live_of(conn, now, study_id, GRACE_S)
    held = _held(conn, study_id)
    newest = max((row.heartbeat_at for row in rows), default=now)
    dead = [
        row
        for row in rows
        if row.worker_id not in live
        and (row.worker_id in held or row.heartbeat_at >= newest - _REMEMBERED)
    ]
    shown = {row.worker_id for row in dead[-_MOST_DEAD:]} | live.keys()
    return tuple(
        WorkerState(row, _state(row, now, row.worker_id in live), held.get(row.worker_id, 0))
        for row in rows
        if row.worker_id in shown
    )


def _state(row: WorkerRow, now: datetime.datetime, is_live: bool) -> str:
    if not is_live:
        return DEAD
    silent_s = (now - row.heartbeat_at).total_seconds()
    return SILENT if silent_s > SILENT_S else LIVE


def _held(conn: Connection, study_id: int | None) -> dict[int, int]:
    """Returns the number of trials that each worker holds."""
    lease = hpo_lease.c
    query = sa.select(lease.worker_id, sa.func.count()).where(lease.worker_id.is_not(None))
    if study_id is not None:
        query = query.where(lease.study_id == study_id)
    rows = conn.execute(query.group_by(lease.worker_id))
    return {row[0]: row[1] for row in rows}
