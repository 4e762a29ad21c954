"""What a claim looks at: the study's unfinished trials, and what is left of its budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.optuna_tables import trials
from hpo.store.tables import hpo_epoch, hpo_lease
from hpo.store.turn import Turn


@dataclass(frozen=True)
class Request:
    """What a worker asks for: ``n`` trials beside those it holds."""

    worker_id: int
    n: int
    held: frozenset[int]


@dataclass(frozen=True)
class Candidate:
    """A trial that could be handed out; a new one has no ``trial_id`` yet."""

    kind: Literal["mislaid", "free", "waiting", "new"]
    trial_id: int = 0
    number: int = -1
    attempt: int = 1
    epoch: int = 0
    epoch_stop: int = 0
    checkpoint: str | None = None
    seconds: float = 0.0


def mislaid(turn: Turn, request: Request) -> list[Candidate]:
    """Returns what the worker owns but does not know of: the answer to its claim was lost."""
    is_owner = hpo_lease.c.worker_id == request.worker_id
    owned = unfinished(turn, "mislaid", is_owner, request.n + len(request.held))
    return [trial for trial in owned if trial.trial_id not in request.held][: request.n]


def unfinished(
    turn: Turn, kind: Literal["mislaid", "free"], which: sa.ColumnElement[bool], limit: int
) -> list[Candidate]:
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
        )
        .join(trials, trials.c.trial_id == lease.trial_id)
        .where(lease.study_id == turn.study_id, which, trials.c.state == TrialState.RUNNING)
        .order_by(lease.trial_id)
        .limit(limit)
        .with_for_update()
    )
    return [Candidate(kind, *row) for row in turn.conn.execute(statement)]


def n_started(turn: Turn) -> int:
    """Counts what the budget of trials has been spent on: everything but waiting trials."""
    if turn.limits.n_trials is None:
        return 0
    statement = sa.select(sa.func.count()).where(
        trials.c.study_id == turn.study_id, trials.c.state != TrialState.WAITING
    )
    return int(turn.conn.execute(statement).scalar_one())


def waiting(turn: Turn, limit: int) -> list[Candidate]:
    """Returns Optuna's WAITING trials, which somebody enqueued, locked, oldest first."""
    if limit <= 0:
        return []
    statement = (
        sa.select(trials.c.trial_id, trials.c.number)
        .where(trials.c.study_id == turn.study_id, trials.c.state == TrialState.WAITING)
        .order_by(trials.c.trial_id)
        .limit(limit)
        .with_for_update()
    )
    return [Candidate("waiting", *row) for row in turn.conn.execute(statement)]


def epochs_left(turn: Turn) -> int | None:
    """Returns the study's epochs that are neither spent nor reserved; None for any number."""
    if turn.limits.total_epochs is None:
        return None
    lease = hpo_lease.c
    reserved = sa.case((lease.epoch_stop > lease.epoch, lease.epoch_stop), else_=lease.epoch)
    charge = sa.case((lease.worker_id.is_(None), lease.epoch), else_=reserved)
    statement = sa.select(sa.func.sum(charge)).where(lease.study_id == turn.study_id)
    used = turn.epochs_spent + int(turn.conn.execute(statement).scalar() or 0)
    return turn.limits.total_epochs - used
