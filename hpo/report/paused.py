"""Trials that wait for the search to go on with them; to Optuna they are RUNNING."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.store.optuna_tables import trials
from hpo.store.tables import hpo_lease


def count_paused(conn: Connection, study_id: int | None = None) -> dict[int, int]:
    """Counts the paused trials of each study, or of one."""
    lease = hpo_lease.c
    query = (
        sa.select(lease.study_id, sa.func.count().label("n"))
        .join(trials, trials.c.trial_id == lease.trial_id)
        .where(is_paused(), trials.c.state == "RUNNING")
        .group_by(lease.study_id)
    )
    if study_id is not None:
        query = query.where(lease.study_id == study_id)
    return {row.study_id: row.n for row in conn.execute(query)}


def is_paused() -> sa.ColumnElement[bool]:
    """Returns the condition on ``hpo_lease`` that nobody has the trial, and it is at its stop."""
    lease = hpo_lease.c
    return sa.and_(lease.worker_id.is_(None), lease.epoch >= lease.epoch_stop)
