"""Unfinished trials: those that a claim may hand out, and what is left of the study's budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db.hpo_tables import hpo_epoch, hpo_lease
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger import fences
from hpo.store.ledger.budgets import UNBOUNDED_EPOCHS
from hpo.store.ledger.leases import AssignmentRequest, AssignmentRequests
from hpo.store.ledger.locked_study import LockedStudy

Kind: TypeAlias = Literal["lost_response", "unowned", "held", "waiting", "new"]


@dataclass(frozen=True)
class ClaimRequest:
    """A worker's claim.

    Attributes:
        worker_id: The worker.
        n: How many trials it asks for, beside those that it holds.
        held: The trial_ids that it works on now.
        assignments: Which trials it asks for, in a study whose trials pause. Those that it holds
            and would continue are among the ``n``.
    """

    worker_id: int
    n: int
    held: frozenset[int]
    assignments: AssignmentRequests | None = None

    @property
    def may_pause(self) -> bool:
        """Whether trials pause: an unowned one may wait until it is asked for."""
        return self.assignments is not None


@dataclass(frozen=True)
class UnfinishedTrial:
    """A trial that may be handed out.

    Attributes:
        kind: ``lost_response``: the worker owns it, but the response to its claim was lost;
            ``unowned``: its lease has no owner; ``held``: the worker trains it now; ``waiting``:
            enqueued; ``new``: to be created, without a ``trial_id`` yet.
        trial_id: The trial, unique in the database.
        number: The trial, counted within the study from 0.
        attempt: As in `Lease`, and so are the others.
    """

    kind: Kind
    trial_id: int = 0
    number: int = -1
    attempt: int = 1
    epoch: int = 0
    epoch_stop: int = 0
    checkpoint: str | None = None
    seconds: float = 0.0
    token: int = 0


def lost_responses(locked: LockedStudy, request: ClaimRequest) -> list[UnfinishedTrial]:
    """Returns the trials that the worker owns but does not hold."""
    is_owner = hpo_lease.c.worker_id == request.worker_id
    owned = unfinished(locked, "lost_response", is_owner, request.n + len(request.held))
    return [trial for trial in owned if trial.trial_id not in request.held][: request.n]


def interrupted(locked: LockedStudy, limit: int, *, may_pause: bool) -> list[UnfinishedTrial]:
    """Returns trials without an owner that are continued without a request, the oldest first.

    Args:
        locked: The study.
        limit: At most so many.
        may_pause: Trials that have reached their ``epoch_stop`` are paused, not interrupted.
    """
    epochs = locked.limits.epochs or UNBOUNDED_EPOCHS
    which = is_interrupted(sa.literal(epochs), may_pause=may_pause)
    return unfinished(locked, "unowned", which, limit)


def is_interrupted(epochs: sa.ColumnElement[int], *, may_pause: bool) -> sa.ColumnElement[bool]:
    """Returns the condition on ``hpo_lease`` of `interrupted`; ``epochs`` are those of a trial."""
    lease = hpo_lease.c
    is_unowned: sa.ColumnElement[bool] = lease.worker_id.is_(None)
    if not may_pause:
        return is_unowned
    # A trial that has all its epochs is not paused: it is only left to be settled.
    return sa.and_(is_unowned, sa.or_(lease.epoch < lease.epoch_stop, lease.epoch >= epochs))


def requested(locked: LockedStudy, request: ClaimRequest) -> list[UnfinishedTrial]:
    """Returns the requested trials that can be granted, in the order of the requests.

    A trial that is no longer at the epoch that the worker knows is left out.
    """
    ordered = request.assignments.ordered if request.assignments else ()
    lease = hpo_lease.c
    found: dict[int, UnfinishedTrial] = {}
    for part in fences.chunks(sorted(one.trial_id for one in ordered if one.trial_id is not None)):
        is_unowned, is_own = lease.worker_id.is_(None), lease.worker_id == request.worker_id
        named = lease.trial_id.in_(part)
        others = unfinished(locked, "unowned", named & is_unowned, len(part))
        found |= {trial.trial_id: trial for trial in others}
        own = unfinished(locked, "held", named & is_own, len(part))
        found |= {trial.trial_id: trial for trial in own if trial.trial_id in request.held}
    return [trial for one in ordered if (trial := _grantable(one, found)) is not None]


def _grantable(
    asked: AssignmentRequest, found: Mapping[int, UnfinishedTrial]
) -> UnfinishedTrial | None:
    if asked.trial_id is None:
        return UnfinishedTrial("new", epoch_stop=asked.epoch_stop)
    trial = found.get(asked.trial_id)
    if trial is None or trial.epoch != asked.epoch:
        return None
    return replace(trial, epoch_stop=asked.epoch_stop)


def unfinished(
    locked: LockedStudy, kind: Kind, which: sa.ColumnElement[bool], limit: int
) -> list[UnfinishedTrial]:
    """Returns RUNNING trials whose lease meets a condition, locked, oldest first."""
    if limit <= 0:
        return []
    lease, epoch = hpo_lease.c, hpo_epoch.c
    seconds = sa.select(sa.func.sum(epoch.seconds)).where(epoch.trial_id == lease.trial_id)
    statement = (
        sa.select(
            lease.trial_id,
            trials.c.number,
            lease.attempt,
            lease.epoch,
            lease.epoch_stop,
            lease.checkpoint,
            sa.func.coalesce(seconds.scalar_subquery(), 0.0),
            lease.token,
        )
        .join(trials, trials.c.trial_id == lease.trial_id)
        .where(lease.study_id == locked.study_id, which, trials.c.state == TrialState.RUNNING)
        .order_by(lease.trial_id)
        .limit(limit)
        .with_for_update()
    )
    return [UnfinishedTrial(kind, *row) for row in locked.conn.execute(statement)]


def n_started(locked: LockedStudy) -> int:
    """Returns how many trials count against the budget of trials: all but the waiting ones."""
    if locked.limits.n_trials is None:
        return 0
    statement = sa.select(sa.func.count()).where(
        trials.c.study_id == locked.study_id, trials.c.state != TrialState.WAITING
    )
    return int(locked.conn.execute(statement).scalar_one())


def waiting(locked: LockedStudy, limit: int) -> list[UnfinishedTrial]:
    """Returns the enqueued trials, in Optuna's state WAITING, locked, oldest first."""
    if limit <= 0:
        return []
    statement = (
        sa.select(trials.c.trial_id, trials.c.number)
        .where(trials.c.study_id == locked.study_id, trials.c.state == TrialState.WAITING)
        .order_by(trials.c.trial_id)
        .limit(limit)
        .with_for_update()
    )
    return [UnfinishedTrial("waiting", *row) for row in locked.conn.execute(statement)]


def epochs_left(locked: LockedStudy) -> int | None:
    """Returns the study's epochs that are neither spent nor reserved; None without a limit."""
    if locked.limits.total_epochs is None:
        return None
    lease = hpo_lease.c
    reserved = sa.case((lease.epoch_stop > lease.epoch, lease.epoch_stop), else_=lease.epoch)
    charge = sa.case((lease.worker_id.is_(None), lease.epoch), else_=reserved)
    statement = sa.select(sa.func.sum(charge)).where(lease.study_id == locked.study_id)
    used = locked.epochs_spent + int(locked.conn.execute(statement).scalar() or 0)
    return locked.limits.total_epochs - used


def time_left(locked: LockedStudy) -> tuple[float | None, float | None]:
    """Returns ``seconds_left`` and ``epoch_s`` of a `StudyStatus`."""
    if locked.limits.deadline_at is None:
        return None, None
    statement = (
        sa.select(sa.func.avg(hpo_epoch.c.seconds))
        .join(hpo_lease, hpo_lease.c.trial_id == hpo_epoch.c.trial_id)
        .where(hpo_lease.c.study_id == locked.study_id)
    )
    epoch_s = locked.conn.execute(statement).scalar()
    left = (locked.limits.deadline_at - locked.now).total_seconds()
    return max(0.0, left), None if epoch_s is None else float(epoch_s)
