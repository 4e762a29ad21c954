"""Reaping: the trials of dead workers are released, so that others continue them.

Silence counts only while another worker was there to hear it. After an outage of the database
every heartbeat is old; the first worker that is back must not take the trials of all the others,
which live and are about to come back, too. So a worker is silent if its last heartbeat is older
than the grace *and* another worker, the witness, was heard without a gap for as long.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.errors import StoreError
from hpo.store.db.hpo_tables import hpo_epoch, hpo_lease, hpo_worker
from hpo.store.ledger import fences
from hpo.store.ledger.locked_study import UNOWNED_TOKEN, LockedStudy
from hpo.store.rows import processes
from hpo.store.rows.events import Event

ENVIRONMENT_VARIABLE = "HPO_GRACE_S"


def default_grace_s() -> float:
    """Returns ``$HPO_GRACE_S``, by default 60.

    Raises:
        StoreError: It is not a number of seconds.
    """
    text = os.environ.get(ENVIRONMENT_VARIABLE, "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise StoreError(f"{ENVIRONMENT_VARIABLE} must be a number of seconds; it is {text!r}")
    return seconds


@dataclass(frozen=True)
class ReapingPolicy:
    """Limits: how long a worker may be silent, and how often a trial may be lost.

    Attributes:
        grace_s: Silence, in seconds by the database's clock, after which a worker is taken
            for dead.
        max_attempts: Workers in a row that a trial may lose without a new epoch before it fails.
    """

    grace_s: float = 60.0
    max_attempts: int = 3

    @property
    def gap_s(self) -> float:
        """Seconds between two heartbeats after which a worker is a witness only from the later on.

        A third of the grace: heartbeats come several times within it.
        """
        return self.grace_s / 3


def release_dead(locked: LockedStudy, policy: ReapingPolicy) -> list[int]:
    """Releases the trials of dead workers, and fails those that were lost too often.

    Returns:
        The trial_ids, ascending.
    """
    suspects = {row.worker_id: row for row in _suspects(locked, policy)}
    silent = any(_silent_s(row, locked.now) > policy.grace_s for row in suspects.values())
    grace_s = policy.grace_s if silent and _has_witness(locked, policy) else math.inf
    causes = {key: why_dead(row, locked.now, grace_s) for key, row in suspects.items()}
    why = {worker_id: reason for worker_id, reason in causes.items() if reason}
    if not why:
        return []
    _mark_ended(locked, [suspects[worker_id] for worker_id in why])
    leases = _leases_of(locked, list(why))
    failing = [row for row in leases if _n_barren(row) >= policy.max_attempts]
    others = [row for row in leases if _n_barren(row) < policy.max_attempts]
    if failing:
        locked.end_trials({row.trial_id: row.epoch for row in failing}, TrialState.FAIL)
    if others:
        release(locked, hpo_lease.c.trial_id.in_(fences.ids(others)), lost=True)
    locked.record([_event(locked, row, why[row.worker_id], policy) for row in leases])
    if locked.state == "done":
        locked.prune_unowned_trials()
    return fences.ids(leases)


def why_dead(worker: Any, now: datetime, grace_s: float) -> str:
    """Returns why a worker is taken for dead, or an empty string.

    Args:
        worker: A row of ``hpo_worker``.
        now: The database's clock.
        grace_s: How long it may be silent; infinite without a witness.
    """
    if worker.ended_at is not None:
        return "ended without handing its trials back"
    if _is_here(worker) and _is_gone(worker):
        return f"died (process {worker.pid} on {worker.host} is gone)"
    if _silent_s(worker, now) > grace_s:
        return f"on {worker.host} was silent for {_silent_s(worker, now):.0f} s"
    return ""


def heard(now: datetime, policy: ReapingPolicy) -> tuple[tuple[sa.Column[Any], Any], ...]:
    """Returns what a heartbeat sets in ``hpo_worker``, for ``ordered_values``.

    In this order: MySQL sets one column after the other, and ``heard_since`` looks at the
    heartbeat before.
    """
    worker = hpo_worker.c
    was_gone = worker.heartbeat_at < now - timedelta(seconds=policy.gap_s)
    heard_since = sa.case(
        (was_gone, sa.literal(now, worker.heard_since.type)), else_=worker.heard_since
    )
    return (worker.heard_since, heard_since), (worker.heartbeat_at, now)


def release(locked: LockedStudy, which: sa.ColumnElement[bool], *, lost: bool = False) -> None:
    """Releases leases of the study, in one statement; their tokens are void from then on.

    Args:
        locked: The study.
        which: A condition on ``hpo_lease``.
        lost: Count an attempt.
    """
    lease = hpo_lease.c
    conditions = (lease.study_id == locked.study_id, lease.token != UNOWNED_TOKEN, which)
    values: dict[str, Any] = {"worker_id": None, "token": UNOWNED_TOKEN, "updated_at": locked.now}
    if lost:
        values["attempt"] = lease.attempt + 1
    locked.conn.execute(sa.update(hpo_lease).where(*conditions).values(**values))


def _has_witness(locked: LockedStudy, policy: ReapingPolicy) -> bool:
    """Returns whether any worker was heard for as long as the grace, and recently."""
    worker = hpo_worker.c
    statement = sa.select(worker.worker_id).where(
        worker.ended_at.is_(None),
        worker.heartbeat_at >= locked.now - timedelta(seconds=policy.gap_s),
        worker.heard_since <= locked.now - timedelta(seconds=policy.grace_s),
    )
    return locked.conn.execute(statement.limit(1)).first() is not None


def _suspects(locked: LockedStudy, policy: ReapingPolicy) -> Sequence[Any]:
    """Returns the workers that own leases and may be dead, judged by their rows alone."""
    return locked.conn.execute(_SUSPECTS, suspicion(locked, policy)).all()


def suspicion(locked: LockedStudy, policy: ReapingPolicy) -> dict[str, Any]:
    """Returns the values of the parameters of `suspicious`."""
    heard_after = locked.now - timedelta(seconds=policy.grace_s)
    return {"study": locked.study_id, "heard_after": heard_after, "machine": processes.machine()}


def suspicious(worker: sa.FromClause) -> sa.ColumnElement[bool]:
    """Returns the condition that a worker of a study owns leases and may be dead.

    Args:
        worker: ``hpo_worker``, or an alias of it.
    """
    column, lease = worker.c, hpo_lease.c
    study = sa.bindparam("study", type_=sa.Integer)
    owns = sa.exists().where(lease.study_id == study, lease.worker_id == column.worker_id)
    return sa.and_(
        column.study_id == study,
        sa.or_(
            column.ended_at.is_not(None),
            column.heartbeat_at < sa.bindparam("heard_after", type_=column.heartbeat_at.type),
            column.machine == sa.bindparam("machine"),
        ),
        owns,
    )


_SUSPECTS = sa.select(
    *(
        hpo_worker.c[name]
        for name in (
            *("worker_id", "host", "machine", "pid", "pid_started_at"),
            *("heartbeat_at", "ended_at"),
        )
    )
).where(suspicious(hpo_worker))


def _leases_of(locked: LockedStudy, worker_ids: Sequence[int]) -> Sequence[Any]:
    lease, epoch = hpo_lease.c, hpo_epoch.c
    of_trial = sa.select(sa.func.max(epoch.attempt)).where(epoch.trial_id == lease.trial_id)
    fruitful = sa.func.coalesce(of_trial.scalar_subquery(), 0).label("fruitful")
    statement = (
        sa.select(
            lease.trial_id, lease.worker_id, lease.token, lease.attempt, lease.epoch, fruitful
        )
        .where(lease.study_id == locked.study_id, lease.worker_id.in_(worker_ids))
        .order_by(lease.trial_id)
        .with_for_update()
    )
    return locked.conn.execute(statement).all()


def _mark_ended(locked: LockedStudy, workers: Sequence[Any]) -> None:
    # Only where the process is known to be gone; a silent machine may come back.
    gone = [row.worker_id for row in workers if _is_here(row) and _is_gone(row)]
    if gone:
        worker = hpo_worker.c
        locked.conn.execute(
            sa.update(hpo_worker)
            .where(worker.worker_id.in_(gone), worker.ended_at.is_(None))
            .values(ended_at=locked.now)
        )


def _silent_s(worker: Any, now: datetime) -> float:
    return float((now - worker.heartbeat_at).total_seconds())


def _is_here(worker: Any) -> bool:
    return bool(worker.machine == processes.machine())


def _is_gone(worker: Any) -> bool:
    return processes.is_dead(worker.pid, worker.pid_started_at)


def _n_barren(lease: Any) -> int:
    """Returns how many workers in a row were lost with a trial, and had reported no epoch of it.

    A trial that comes further with each worker may lose any number: its machine is at fault.
    """
    return int(lease.attempt - lease.fruitful)


def _event(locked: LockedStudy, lease: Any, why: str, policy: ReapingPolicy) -> Event:
    text, n_barren = f"worker {lease.worker_id} {why}", _n_barren(lease)
    if n_barren >= policy.max_attempts:
        text += f"; the trial failed: lost {n_barren} times without a new epoch"
    else:
        text += f"; the trial is resumed, attempt {lease.attempt + 1}"
    return Event(locked.study_id, "lost", text, lease.trial_id, lease.worker_id)
