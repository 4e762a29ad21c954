"""What is known of stacks: how many lanes they take, and how full those of a study were."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_stack, hpo_worker

_DEVICE_LENGTH = 128


@dataclass(frozen=True)
class Usage:
    """How full stacks were; a trial that trains alone counts as a stack of one lane.

    Attributes:
        lanes: Trials that train now.
        lane_epochs: Epochs of all trials.
        stack_epochs: Epochs of all stacks.
    """

    lanes: int
    lane_epochs: int
    stack_epochs: int

    @property
    def mean(self) -> float:
        """Lanes of a stack, on average over the epochs that were trained."""
        return self.lane_epochs / self.stack_epochs if self.stack_epochs else 0.0


@dataclass(frozen=True)
class Measurement:
    """How many lanes a stack takes, as somebody has measured it.

    Attributes:
        lanes: So many.
        slowdown: How many times longer steps took then than they had to; None where that is not
            known.
        age_s: Seconds since then.
    """

    lanes: int
    slowdown: float | None
    age_s: float


def known(db: Database, device: str) -> dict[str, Measurement]:
    """Returns what was measured on devices of this name, by digest of the signature."""
    stack = hpo_stack.c
    statement = sa.select(stack.signature, stack.lanes, stack.slowdown, stack.measured_at).where(
        stack.device == device[:_DEVICE_LENGTH]
    )
    with db.read() as conn:
        now = db.now(conn)
        return {
            row.signature: Measurement(
                row.lanes, row.slowdown, (now - row.measured_at).total_seconds()
            )
            for row in conn.execute(statement)
        }


def remember(
    db: Database, device: str, signature: str, n_lanes: int, slowdown: float | None
) -> None:
    """Keeps a measurement; a newer one replaces it."""
    key = {"signature": signature, "device": device[:_DEVICE_LENGTH]}

    def write(conn: sa.Connection) -> None:
        stack = hpo_stack.c
        conn.execute(sa.delete(hpo_stack).where(*(stack[name] == key[name] for name in key)))
        row = {**key, "lanes": n_lanes, "slowdown": slowdown, "measured_at": db.now(conn)}
        conn.execute(sa.insert(hpo_stack).values(**row))

    db.transaction(write)


def note(db: Database, worker_id: int, usage: Usage) -> None:
    """Keeps how full a worker's stacks were so far."""
    values = {
        "lanes": usage.lanes,
        "lane_epochs": usage.lane_epochs,
        "stack_epochs": usage.stack_epochs,
    }
    statement = sa.update(hpo_worker).where(hpo_worker.c.worker_id == worker_id).values(**values)
    db.transaction(lambda conn: conn.execute(statement))


def usage(conn: sa.Connection, study_id: int) -> Usage:
    """Returns how full the stacks of a study were, those of all its workers together."""
    worker = hpo_worker.c
    now = sa.case((worker.ended_at.is_(None), worker.lanes), else_=0)
    sums = [
        sa.func.coalesce(sa.func.sum(c), 0) for c in (now, worker.lane_epochs, worker.stack_epochs)
    ]
    row = conn.execute(sa.select(*sums).where(worker.study_id == study_id)).one()
    return Usage(*map(int, row))
