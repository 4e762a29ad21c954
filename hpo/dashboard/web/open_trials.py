"""Open trials: those that have not ended, and why each of them runs or waits."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.study_queries import Subject
from hpo.report.trial_details import chunks, last_values_of
from hpo.store.db.hpo_tables import hpo_lease, hpo_worker
from hpo.store.db.optuna_tables import trials
from hpo.store.studies.trial_states import FINISHED, PAUSED, RUNNING, WAITING, shown_state

MOST: Final = 100
"""Maximum number of open trials on a page: running ones first, then waiting and paused ones."""


@dataclass(frozen=True)
class OpenTrial:
    """A trial that has not ended; times are naive UTC by the database's clock.

    Attributes:
        state: RUNNING, WAITING or PAUSED.
        epoch: Its last reported epoch.
        value: The value that it reported last, if any.
        why: Why it is in this state, as a sentence.
    """

    number: int
    state: str
    epoch: int
    value: float | None
    why: str
    updated_at: datetime.datetime | None


def open_trials(conn: Connection, subject: Subject, live: dict[int, int]) -> list[OpenTrial]:
    """Returns the open trials of a study, at most `MOST`.

    Args:
        live: The live workers, as `hpo.store.studies.trial_states.live_workers` returns them.
    """
    lease, worker, state = hpo_lease.c, hpo_worker.c, shown_state(live)
    order = sa.case((state == RUNNING, 0), (state == WAITING, 1), else_=2)
    query = (
        sa.select(
            trials.c.trial_id,
            trials.c.number,
            state.label("state"),
            lease.epoch,
            lease.epoch_stop,
            lease.attempt,
            lease.updated_at,
            worker.host,
            worker.pid,
            trials.c.datetime_start.label("started_at"),
        )
        .outerjoin(hpo_lease, lease.trial_id == trials.c.trial_id)
        .outerjoin(hpo_worker, worker.worker_id == lease.worker_id)
        .where(trials.c.study_id == subject.study_id, trials.c.state.not_in(FINISHED))
        .order_by(order, trials.c.number)
        .limit(MOST)
    )
    rows = conn.execute(query).all()
    values: dict[int, tuple[float, ...]] = {}
    for chunk in chunks([row.trial_id for row in rows]):
        values |= last_values_of(conn, chunk)
    return [
        OpenTrial(
            number=row.number,
            state=row.state,
            epoch=row.epoch or 0,
            value=values.get(row.trial_id, (None,))[0],
            why=_why(row, subject, n_live=len(live)),
            updated_at=row.updated_at,
        )
        for row in rows
    ]


def _why(row: sa.Row[tuple[object, ...]], subject: Subject, *, n_live: int) -> str:
    after = f" after epoch {row.epoch}" if row.epoch else ""
    if row.state == PAUSED:
        return f"suspended by the search{after}; it is resumed if others turn out worse"
    if row.state == RUNNING:
        if row.host is None:
            return "trained by a program that uses Optuna alone"
        to = f" up to epoch {row.epoch_stop}" if row.epoch_stop else ""
        again = f", attempt {row.attempt}" if row.attempt > 1 else ""
        return f"trained{to} by {row.host}:{row.pid}{again}"
    begun = f"interrupted{after}" if row.started_at is not None else "enqueued"
    return f"{begun}; {_missing(subject, n_live)}"


def _missing(subject: Subject, n_live: int) -> str:
    """Returns what an interrupted or enqueued trial waits for."""
    if subject.state == "paused":
        return f"the study is paused: hpo resume {subject.name}"
    if subject.has_ended:
        return f"the study is {subject.state}: hpo resume {subject.name}"
    if not n_live:
        return f"no worker is running: hpo worker {subject.name}"
    return "the next free worker takes it"
