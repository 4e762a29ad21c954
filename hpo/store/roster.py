"""Who works: what the rows of workers tell to whoever only looks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hpo.store.database import Database
from hpo.store.tables import hpo_worker


@dataclass(frozen=True)
class WorkerRow:
    """A worker as its row tells; times are naive UTC by the database's clock.

    Attributes:
        pid_started_at: Seconds from the machine's start to the process's.
        machine: The boot and process namespace within which the pid means something.
        versions: Of Python and of the packages that matter, by name.
        heard_since: Since when its heartbeats have come without a gap.
        ended_at: When it left or was found dead; None while it may live.
        lanes: Trials that it trains now; None where it does not say.
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
    """Returns the workers heard of within ``grace_s``, of one study or of all, by their ids."""
    worker = hpo_worker.c
    with db.read() as conn:
        since = db.now(conn) - timedelta(seconds=grace_s)
        statement = (
            sa.select(hpo_worker)
            .where(worker.ended_at.is_(None), worker.heartbeat_at >= since)
            .order_by(worker.worker_id)
        )
        if study_id is not None:
            statement = statement.where(worker.study_id == study_id)
        return [_row(found) for found in conn.execute(statement).mappings()]


def _row(found: Any) -> WorkerRow:
    values = dict(found)
    return WorkerRow(**{**values, "versions": json.loads(values["versions"])})
