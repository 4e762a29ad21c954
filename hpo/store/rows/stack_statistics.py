"""Stack statistics: how many lanes a stack takes, and how full the stacks of a study were."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_stack, hpo_worker

_DEVICE_LENGTH = 128
"""Length of the column."""


@dataclass(frozen=True)
class Usage:
    """Use of stacks; a trial that trains alone counts as a stack of one lane.

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
    """The measured number of lanes that a stack takes.

    Attributes:
        lanes: How many.
        slowdown: By which factor other work on the device slowed the steps; None where that is not
            known.
        age_s: Seconds since the measurement.
    """

    lanes: int
    slowdown: float | None
    age_s: float


def known(db: Database, device: str) -> dict[str, Measurement]:
    """Returns the measurements on devices of this name, by digest of the signature."""
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
    """Stores a measurement, in place of an earlier one."""
    key = {"signature": signature, "device": device[:_DEVICE_LENGTH]}

    def write(conn: sa.Connection) -> None:
        stack = hpo_stack.c
        conn.execute(sa.delete(hpo_stack).where(*(stack[name] == key[name] for name in key)))
        row = {**key, "lanes": n_lanes, "slowdown": slowdown, "measured_at": db.now(conn)}
        conn.execute(sa.insert(hpo_stack).values(**row))

    db.transaction(write)


def note(db: Database, worker_id: int, usage: Usage) -> None:
    """Stores the use of a worker's stacks so far."""
    values = {
        "lanes": usage.lanes,
        "lane_epochs": usage.lane_epochs,
        "stack_epochs": usage.stack_epochs,
    }
    statement = sa.update(hpo_worker).where(hpo_worker.c.worker_id == worker_id).values(**values)
    db.transaction(lambda conn: conn.execute(statement))


def usage(conn: sa.Connection, study_id: int) -> Usage:
    """Returns the use of a study's stacks, of all its workers together."""
    worker = hpo_worker.c
    now = sa.case((worker.ended_at.is_(None), worker.lanes), else_=0)
    sums = [
        sa.func.coalesce(sa.func.sum(c), 0) for c in (now, worker.lane_epochs, worker.stack_epochs)
    ]
    row = conn.execute(sa.select(*sums).where(worker.study_id == study_id)).one()
    return Usage(*map(int, row))
