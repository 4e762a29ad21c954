"""Progress of a study, which a display redraws several times a second."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.study_queries import Subject
from hpo.report.trial_pages import TrialRow, best_trial
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event, hpo_lease, hpo_study
from hpo.store.db.optuna_tables import trials
from hpo.store.rows import stack_statistics
from hpo.store.rows.stack_statistics import Usage
from hpo.store.studies.trial_states import Counts, counts_of

NO_USAGE: Final = Usage(lanes=0, lane_epochs=0, stack_epochs=0)


@dataclass(frozen=True)
class LastFailure:
    """Why a trial failed, or was pruned."""

    number: int
    kind: str
    message: str


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        n_epochs: Epochs spent by all trials, running ones included.
        best: The best trial, as `hpo.report.trial_pages.best_trial` returns it.
        failure: The first trial that failed after the given event.
        usage: How full the stacks of its workers were.
    """

    counts: Counts
    n_epochs: int
    best: TrialRow | None
    failure: LastFailure | None
    usage: Usage = NO_USAGE


def snapshot(
    db: Database, subject: Subject, *, since_event: int = 0, best: TrialRow | None = None
) -> Snapshot:
    """Reads the progress of a study.

    The number of queries is constant, and none reads the epochs of all trials.

    Args:
        since_event: Events up to this id are ignored.
        best: The best trial of an earlier snapshot; its details are not read again.
    """
    with db.read() as conn:
        return read_snapshot(conn, db, subject, since_event=since_event, best=best)


def read_snapshot(
    conn: Connection,
    db: Database,
    subject: Subject,
    *,
    since_event: int = 0,
    best: TrialRow | None = None,
) -> Snapshot:
    """Reads the progress of a study as `snapshot` does, in the caller's transaction."""
    counts = counts_of(conn, db, subject.study_id)
    return Snapshot(
        counts=counts,
        n_epochs=epochs_spent(conn, subject.study_id),
        best=best_trial(conn, subject, known=best) if counts.finished else None,
        failure=_failure(conn, subject.study_id, since_event) if counts.failed else None,
        usage=stack_statistics.usage(conn, subject.study_id),
    )


def epochs_spent(conn: Connection, study_id: int) -> int:
    """Returns the epochs of all trials of a study; 0 for one that hpo did not create."""
    ended = sa.select(hpo_study.c.epochs_spent).where(hpo_study.c.study_id == study_id)
    running = sa.select(sa.func.sum(hpo_lease.c.epoch)).where(hpo_lease.c.study_id == study_id)
    return int(conn.scalar(ended) or 0) + int(conn.scalar(running) or 0)


def last_event(db: Database, study_id: int) -> int:
    """Returns the id of a study's newest event, 0 if it has none."""
    query = sa.select(sa.func.max(hpo_event.c.event_id)).where(hpo_event.c.study_id == study_id)
    with db.read() as conn:
        return conn.scalar(query) or 0


def _failure(conn: Connection, study_id: int, since_event: int) -> LastFailure | None:
    event = hpo_event.c
    # A trial that was lost earlier has events of that, too; its last event is its end.
    ends = (
        sa.select(sa.func.max(event.event_id).label("event_id"))
        .join(trials, trials.c.trial_id == event.trial_id)
        .where(event.study_id == study_id, trials.c.state == "FAIL")
        .group_by(trials.c.trial_id)
        .subquery()
    )
    query = (
        sa.select(trials.c.number, event.kind, event.message)
        .join(ends, ends.c.event_id == event.event_id)
        .join(trials, trials.c.trial_id == event.trial_id)
        .where(event.event_id > since_event)
        .order_by(event.event_id)
        .limit(1)
    )
    row = conn.execute(query).first()
    return None if row is None else LastFailure(*row)


def first_pruning(db: Database, subject: Subject) -> LastFailure | None:
    """Returns the first pruned trial that has a message."""
    event = hpo_event.c
    query = (
        sa.select(trials.c.number, event.kind, event.message)
        .join(trials, trials.c.trial_id == event.trial_id)
        .where(event.study_id == subject.study_id, trials.c.state == "PRUNED", event.message != "")
        .order_by(event.event_id)
        .limit(1)
    )
    with db.read() as conn:
        row = conn.execute(query).first()
    return None if row is None else LastFailure(*row)


@dataclass(frozen=True)
class Moment:
    """Number of ended or paused trials at a time, in seconds of a monotonic clock."""

    at_s: float
    n_tried: int


def trials_per_s(first: Moment, last: Moment) -> float | None:
    """Returns the rate between two moments, or None if no trial ended between them."""
    elapsed = last.at_s - first.at_s
    n_tried = last.n_tried - first.n_tried
    return n_tried / elapsed if elapsed > 0 and n_tried > 0 else None


def time_left_s(
    n_left: int | None, per_s: float | None, until_deadline_s: float | None
) -> float | None:
    """Returns the seconds until the budget ends: its trials or its hours, whichever ends first."""
    by_trials = n_left / per_s if n_left is not None and per_s else None
    known = [seconds for seconds in (by_trials, until_deadline_s) if seconds is not None]
    return max(0.0, min(known)) if known else None


def until(deadline_at: datetime.datetime | None, now: datetime.datetime) -> float | None:
    """Returns the seconds to a study's deadline, both by the database's clock."""
    return None if deadline_at is None else (deadline_at - now).total_seconds()
