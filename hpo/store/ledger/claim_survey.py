"""Claim survey: what a claim must know before it hands anything out, read in one statement.

Most claims find no dead worker, no interrupted trial and no enqueued one. Each of these has a
statement of its own, which locks what it finds; the survey says which of them to send.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db.hpo_tables import hpo_lease, hpo_worker
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger import reaping, unfinished_trials
from hpo.store.ledger.budgets import UNBOUNDED_EPOCHS
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.ledger.reaping import ReapingPolicy
from hpo.store.ledger.unfinished_trials import ClaimRequest


class ClaimSurvey(NamedTuple):
    """A study at the time of a worker's claim.

    Attributes:
        heartbeat_at: The worker's last heartbeat.
        ended_at: When the worker was taken for dead; None while it was not.
        n_owned: Leases that the worker has.
        n_started: Trials that count against the budget of trials; 0 where there is no such budget.
        has_suspects: Other workers that own leases may be dead.
        has_ended_elsewhere: Another program has ended trials that workers own.
        has_interrupted: There are interrupted trials without an owner to resume.
        has_waiting: Trials are enqueued.
        last_id: The greatest trial_id of the study; None where it has no trials.
        last_number: The number of that trial.
    """

    heartbeat_at: datetime
    ended_at: datetime | None
    n_owned: int
    n_started: int
    has_suspects: bool
    has_ended_elsewhere: bool
    has_interrupted: bool
    has_waiting: bool
    last_id: int | None
    last_number: int | None


def survey(locked: LockedStudy, request: ClaimRequest, policy: ReapingPolicy) -> ClaimSurvey | None:
    """Returns the survey for a worker; None where the worker is not registered with the study."""
    statement = _statement(request.may_pause, locked.limits.n_trials is not None)
    values = {
        **reaping.suspicion(locked, policy),
        "worker": request.worker_id,
        "epochs": locked.limits.epochs or UNBOUNDED_EPOCHS,
    }
    row = locked.conn.execute(statement, values).one_or_none()
    return None if row is None else ClaimSurvey._make(row)


@lru_cache(maxsize=4)
def _statement(may_pause: bool, is_limited: bool) -> sa.Select[Any]:
    study, worker_id = (sa.bindparam(name, type_=sa.Integer) for name in ("study", "worker"))
    worker, lease, trial = hpo_worker.c, hpo_lease.c, trials.c
    of_study, in_study = lease.study_id == study, trial.study_id == study
    n_owned = sa.select(sa.func.count()).where(of_study, lease.worker_id == worker_id)
    n_started = sa.select(sa.func.count()).where(in_study, trial.state != TrialState.WAITING)
    other = hpo_worker.alias("other")
    suspects = sa.select(other.c.worker_id).where(
        other.c.worker_id != worker_id,
        reaping.suspicious(other),
    )
    ended = (
        sa.select(lease.trial_id)
        .join(trials, trial.trial_id == lease.trial_id)
        .where(of_study, lease.worker_id.is_not(None), trial.state != TrialState.RUNNING)
    )
    epochs = sa.bindparam("epochs", type_=sa.Integer)
    interrupted = sa.select(lease.trial_id).where(
        of_study, unfinished_trials.is_interrupted(epochs, may_pause=may_pause)
    )
    waiting = sa.select(trial.trial_id).where(in_study, trial.state == TrialState.WAITING)
    newest = sa.select(sa.func.max(trial.trial_id)).where(in_study).scalar_subquery()
    last = trials.alias("last")
    return (
        sa.select(
            worker.heartbeat_at,
            worker.ended_at,
            n_owned.scalar_subquery(),
            n_started.scalar_subquery() if is_limited else sa.literal_column("0"),
            *(sa.exists(some) for some in (suspects, ended, interrupted, waiting)),
            last.c.trial_id,
            last.c.number,
        )
        .select_from(hpo_worker)
        .outerjoin(last, last.c.trial_id == newest)
        .where(worker.worker_id == worker_id, worker.study_id == study)
    )
