"""Worker list: the rows of workers, and which of them live."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_worker
from hpo.store.rows import processes


@dataclass(frozen=True)
class WorkerRow:
    """A worker's row; times are naive UTC by the database's clock.

    Attributes:
        pid_started_at: Seconds from the machine's start to the process's.
        machine: The boot and process namespace within which the pid means something.
        versions: Of Python and of packages, by name.
        heard_since: Since when its heartbeats have come without a gap.
        ended_at: When it left or was found dead; None while it may live.
        lanes: Trials that it trains now; None where it has not reported any.
        lane_epochs: Epochs of its trials so far.
        stack_epochs: Epochs of its stacks so far; trials that train alone count as one each.
    """

    worker_id: int
    study_id: int
    host: str
    machine: str
    pid: int
    pid_started_at: float
    device: str
    versions: dict[str, str]
    started_at: datetime
    heartbeat_at: datetime
    heard_since: datetime
    ended_at: datetime | None
    lanes: int | None
    lane_epochs: int | None
    stack_epochs: int | None


def live(db: Database, study_id: int | None = None, grace_s: float = 60.0) -> list[WorkerRow]:
    """Returns the live workers of one study or of all, by their ids.

    A live worker was heard within ``grace_s``. If it is on this machine, its process runs.
    """
    with db.read() as conn:
        found = conn.execute(_heard_of(hpo_worker, db.now(conn), study_id, grace_s)).mappings()
        return [row for row in map(_row, found) if not _is_gone(row)]


def live_of(
    conn: sa.Connection, now: datetime, study_id: int | None = None, grace_s: float = 60.0
) -> dict[int, int]:
    """Returns the workers that `live` finds, in the caller's transaction: their id and study."""
    worker = hpo_worker.c
    few = (
        worker.worker_id,
        worker.study_id,
        worker.machine,
        worker.pid,
        worker.pid_started_at,
    )
    found = conn.execute(_heard_of(few, now, study_id, grace_s))
    return {row.worker_id: row.study_id for row in found if not _is_gone(row)}


def unended(conn: sa.Connection, study_id: int | None = None) -> list[WorkerRow]:
    """Returns the workers of one study or of all that have not ended, by their ids.

    They live, or died without a word.
    """
    worker = hpo_worker.c
    statement = sa.select(hpo_worker).where(worker.ended_at.is_(None)).order_by(worker.worker_id)
    if study_id is not None:
        statement = statement.where(worker.study_id == study_id)
    return [_row(found) for found in conn.execute(statement).mappings()]


def _heard_of(what: Any, now: datetime, study_id: int | None, grace_s: float) -> sa.Select[Any]:
    worker = hpo_worker.c
    columns = (what,) if isinstance(what, sa.Table) else what
    statement = (
        sa.select(*columns)
        .where(worker.ended_at.is_(None), worker.heartbeat_at >= now - timedelta(seconds=grace_s))
        .order_by(worker.worker_id)
    )
    return statement if study_id is None else statement.where(worker.study_id == study_id)


def _is_gone(row: Any) -> bool:
    # If all workers were killed at once, none is left that marks them as ended.
    is_here = row.machine == processes.machine()
    return is_here and processes.is_dead(row.pid, row.pid_started_at)


def _row(found: Any) -> WorkerRow:
    values = dict(found)
    return WorkerRow(**{**values, "versions": json.loads(values["versions"])})
