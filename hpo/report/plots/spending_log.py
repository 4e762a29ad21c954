"""Spending log: when a study spent its epochs, and when its trials ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from hpo.report.study_queries import Subject
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_lease, hpo_study
from hpo.store.db.optuna_tables import trials
from hpo.store.studies.trial_states import FINISHED, live_workers, shown_state

_MOST_EPOCHS: Final = 100_000
"""Epochs that are read one by one; of more, those of each trial are counted together."""


@dataclass(frozen=True)
class SpendingLog:
    """When a study spent its budget.

    Attributes:
        epochs: Time, state of the trial, number of epochs, seconds; by time. The state is one of
            `hpo.store.studies.trial_states.STATES`, and times are naive UTC.
        ends: Time and state of each trial that ended, by time.
        total_epochs: Budget of all epochs; None without one.
        n_trials: Number of trials that will have ended when the budget is spent; None without one.
        is_exact: Each epoch has its own time; otherwise that of its trial's last one.
    """

    epochs: Sequence[tuple[datetime, str, int, float]]
    ends: Sequence[tuple[datetime, str]]
    total_epochs: int | None
    n_trials: int | None
    is_exact: bool


def read_spending(db: Database, subject: Subject) -> SpendingLog:
    """Reads when a study spent its budget."""
    epoch = hpo_epoch.c
    own = trials.c.study_id == subject.study_id
    with db.read() as conn:
        count = sa.select(sa.func.count()).select_from(
            hpo_epoch.join(trials, trials.c.trial_id == epoch.trial_id)
        )
        is_exact = (conn.scalar(count.where(own)) or 0) <= _MOST_EPOCHS
        state = shown_state(live_workers(conn, db, subject.study_id)).label("shown")
        if is_exact:
            query = sa.select(epoch.reported_at, state, sa.literal(1), epoch.seconds)
        else:
            at, seconds = sa.func.max(epoch.reported_at), sa.func.sum(epoch.seconds)
            query = sa.select(
                sa.type_coerce(at, epoch.reported_at.type), state, sa.func.count(), seconds
            )
        query = query.select_from(
            hpo_epoch.join(trials, trials.c.trial_id == epoch.trial_id).outerjoin(
                hpo_lease, hpo_lease.c.trial_id == trials.c.trial_id
            )
        ).where(own)
        if not is_exact:
            query = query.group_by(epoch.trial_id, state)
        epochs = [tuple(row) for row in conn.execute(query)]
        ended = sa.select(trials.c.datetime_complete, sa.cast(trials.c.state, sa.String(16)))
        ended = ended.where(own, trials.c.datetime_complete.is_not(None))
        ends = [(at, name) for at, name in conn.execute(ended) if name in FINISHED]
        total = conn.scalar(
            sa.select(hpo_study.c.total_epochs).where(hpo_study.c.study_id == subject.study_id)
        )
    return SpendingLog(
        epochs=sorted((at, name, int(n), float(s or 0.0)) for at, name, n, s in epochs),
        ends=sorted(ends),
        total_epochs=total,
        n_trials=subject.n_trials,
        is_exact=is_exact,
    )
