"""What a claim looks at: the study's unfinished trials, and what is left of its budgets."""

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

Kind: TypeAlias = Literal["mislaid", "free", "held", "waiting", "new"]


@dataclass(frozen=True)
class Request:
    """What a worker asks for: ``n`` trials beside those it holds.

    Of a study whose trials pause it says which. Those it holds and wishes to go on with are among
    the ``n``.
    """

    worker_id: int
    n: int
    held: frozenset[int]
    wishes: AssignmentRequests | None = None


@dataclass(frozen=True)
class UnfinishedTrial:
    """A trial that could be handed out; a new one has no ``trial_id`` yet."""

    kind: Kind
    trial_id: int = 0
    number: int = -1
    attempt: int = 1
    epoch: int = 0
    epoch_stop: int = 0
    checkpoint: str | None = None
    seconds: float = 0.0
    token: int = 0


def mislaid(locked: LockedStudy, request: Request) -> list[UnfinishedTrial]:
    """Returns what the worker owns but does not know of: the answer to its claim was lost."""
    is_owner = hpo_lease.c.worker_id == request.worker_id
    owned = unfinished(locked, "mislaid", is_owner, request.n + len(request.held))
    return [trial for trial in owned if trial.trial_id not in request.held][: request.n]


def orphans(locked: LockedStudy, limit: int, *, may_pause: bool) -> list[UnfinishedTrial]:
    """Returns the trials that nobody has and that somebody should go on with, without a wish.

    Args:
        locked: The study.
        limit: At most so many.
        may_pause: Those that have reached their ``epoch_stop`` are paused.
    """
    epochs = locked.limits.epochs or UNBOUNDED_EPOCHS
    return unfinished(locked, "free", is_orphan(sa.literal(epochs), may_pause), limit)


def is_orphan(epochs: sa.ColumnElement[int], may_pause: bool) -> sa.ColumnElement[bool]:
    """Returns the condition on ``hpo_lease`` of `orphans`; ``epochs`` are those of a trial."""
    lease = hpo_lease.c
    is_free: sa.ColumnElement[bool] = lease.worker_id.is_(None)
    if not may_pause:
        return is_free
    # One that has all its epochs still has to be settled by somebody.
    return sa.and_(is_free, sa.or_(lease.epoch < lease.epoch_stop, lease.epoch >= epochs))


def wished(locked: LockedStudy, request: Request) -> list[UnfinishedTrial]:
    """Returns the wishes that can be had, in their order: the trials still are where they were."""
    wishes = request.wishes.ordered if request.wishes else ()
    lease = hpo_lease.c
    found: dict[int, UnfinishedTrial] = {}
    for part in fences.chunks(
        sorted(wish.trial_id for wish in wishes if wish.trial_id is not None)
    ):
        is_free, is_own = lease.worker_id.is_(None), lease.worker_id == request.worker_id
        named = lease.trial_id.in_(part)
        found |= {x.trial_id: x for x in unfinished(locked, "free", named & is_free, len(part))}
        own = unfinished(locked, "held", named & is_own, len(part))
        found |= {x.trial_id: x for x in own if x.trial_id in request.held}
    return [trial for wish in wishes if (trial := _granted(wish, found)) is not None]


def _granted(
    wish: AssignmentRequest, found: Mapping[int, UnfinishedTrial]
) -> UnfinishedTrial | None:
    if wish.trial_id is None:
        return UnfinishedTrial("new", epoch_stop=wish.epoch_stop)
    trial = found.get(wish.trial_id)
    if trial is None or trial.epoch != wish.epoch:
        return None
    return replace(trial, epoch_stop=wish.epoch_stop)


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
    """Counts what the budget of trials has been spent on: everything but waiting trials."""
    if locked.limits.n_trials is None:
        return 0
    statement = sa.select(sa.func.count()).where(
        trials.c.study_id == locked.study_id, trials.c.state != TrialState.WAITING
    )
    return int(locked.conn.execute(statement).scalar_one())


def waiting(locked: LockedStudy, limit: int) -> list[UnfinishedTrial]:
    """Returns Optuna's WAITING trials, which somebody enqueued, locked, oldest first."""
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
    """Returns the study's epochs that are neither spent nor reserved; None for any number."""
    if locked.limits.total_epochs is None:
        return None
    lease = hpo_lease.c
    reserved = sa.case((lease.epoch_stop > lease.epoch, lease.epoch_stop), else_=lease.epoch)
    charge = sa.case((lease.worker_id.is_(None), lease.epoch), else_=reserved)
    statement = sa.select(sa.func.sum(charge)).where(lease.study_id == locked.study_id)
    used = locked.epochs_spent + int(locked.conn.execute(statement).scalar() or 0)
    return locked.limits.total_epochs - used


def time_left(locked: LockedStudy) -> tuple[float | None, float | None]:
    """Returns the seconds until the deadline, and those of an epoch: see ``Standing``."""
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
