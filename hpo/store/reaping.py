"""Taking trials from workers that died, so that others continue them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store import processes, sql
from hpo.store.events import Event
from hpo.store.tables import hpo_lease, hpo_worker
from hpo.store.turn import FREE, Turn


@dataclass(frozen=True)
class Patience:
    """How long a worker may be silent and a trial be lost.

    Attributes:
        grace_s: Silence, in seconds by the database's clock, after which a worker is taken
            for dead.
        max_attempts: Workers that a trial may lose before it fails.
    """

    grace_s: float = 60.0
    max_attempts: int = 3


def free_dead(turn: Turn, patience: Patience) -> list[int]:
    """Sets the trials of dead workers free, and fails those that were lost too often.

    Returns:
        The trial_ids, ascending.
    """
    dead = [row for row in _suspects(turn, patience) if why_dead(row, turn.now, patience)]
    if not dead:
        return []
    why = {row.worker_id: why_dead(row, turn.now, patience) for row in dead}
    _mark_ended(turn, [row for row in dead if _is_here(row)])
    leases = _leases_of(turn, list(why))
    hopeless = [row for row in leases if row.attempt >= patience.max_attempts]
    others = [row for row in leases if row.attempt < patience.max_attempts]
    if hopeless:
        pairs = [(row.trial_id, row.token) for row in hopeless]
        turn.end_trials({row.trial_id: row.epoch for row in hopeless}, TrialState.FAIL, pairs)
    if others:
        free(turn, hpo_lease.c.trial_id.in_(sql.ids(others)), lost=True)
    turn.record([_event(turn, row, why[row.worker_id], patience) for row in leases])
    if turn.state == "done":
        turn.end_free_trials()
    return sql.ids(leases)


def why_dead(worker: Any, now: datetime, patience: Patience) -> str:
    """Returns why a worker is taken for dead, or an empty string.

    Args:
        worker: A row of ``hpo_worker``.
        now: The database's clock.
        patience: How long it may be silent.
    """
    if worker.ended_at is not None:
        return "ended without handing its trials back"
    if _is_here(worker) and processes.is_dead(worker.pid, worker.pid_started_at):
        return f"died (process {worker.pid} on {worker.host} is gone)"
    silent_s = (now - worker.heartbeat_at).total_seconds()
    if silent_s > patience.grace_s:
        return f"on {worker.host} was silent for {silent_s:.0f} s"
    return ""


def free(turn: Turn, which: sa.ColumnElement[bool], *, lost: bool = False) -> None:
    """Sets leases of the study free, in one statement; their tokens are void from then on.

    Args:
        turn: The study.
        which: A condition on ``hpo_lease``.
        lost: Count an attempt.
    """
    lease = hpo_lease.c
    conditions = (lease.study_id == turn.study_id, lease.token != FREE, which)
    values: dict[str, Any] = {"worker_id": None, "token": FREE, "updated_at": turn.now}
    if lost:
        values["attempt"] = lease.attempt + 1
    turn.conn.execute(sa.update(hpo_lease).where(*conditions).values(**values))


def _suspects(turn: Turn, patience: Patience) -> Sequence[Any]:
    """Returns the workers that own leases and may be dead, as far as SQL can tell."""
    worker, lease = hpo_worker.c, hpo_lease.c
    owns = sa.exists().where(lease.study_id == turn.study_id, lease.worker_id == worker.worker_id)
    statement = sa.select(
        worker.worker_id,
        worker.host,
        worker.machine,
        worker.pid,
        worker.pid_started_at,
        worker.heartbeat_at,
        worker.ended_at,
    ).where(
        worker.study_id == turn.study_id,
        sa.or_(
            worker.ended_at.is_not(None),
            worker.heartbeat_at < turn.now - timedelta(seconds=patience.grace_s),
            worker.machine == processes.machine(),
        ),
        owns,
    )
    return turn.conn.execute(statement).all()


def _leases_of(turn: Turn, worker_ids: Sequence[int]) -> Sequence[Any]:
    lease = hpo_lease.c
    statement = (
        sa.select(lease.trial_id, lease.worker_id, lease.token, lease.attempt, lease.epoch)
        .where(lease.study_id == turn.study_id, lease.worker_id.in_(worker_ids))
        .order_by(lease.trial_id)
        .with_for_update()
    )
    return turn.conn.execute(statement).all()


def _mark_ended(turn: Turn, workers: Sequence[Any]) -> None:
    # Only where the process is known to be gone; a silent machine may come back.
    gone = [row.worker_id for row in workers if processes.is_dead(row.pid, row.pid_started_at)]
    if gone:
        worker = hpo_worker.c
        turn.conn.execute(
            sa.update(hpo_worker)
            .where(worker.worker_id.in_(gone), worker.ended_at.is_(None))
            .values(ended_at=turn.now)
        )


def _is_here(worker: Any) -> bool:
    return bool(worker.machine == processes.machine())


def _event(turn: Turn, lease: Any, why: str, patience: Patience) -> Event:
    text = f"worker {lease.worker_id} {why}"
    if lease.attempt >= patience.max_attempts:
        text += f"; the trial failed: lost {lease.attempt} times"
    else:
        text += f"; the trial goes on, attempt {lease.attempt + 1} of {patience.max_attempts}"
    return Event(turn.study_id, "lost", text, lease.trial_id, lease.worker_id)
