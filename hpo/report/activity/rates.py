"""Rates of a study: trials and epochs per second of the recent past, and the time left.

They are computed from the database alone, so that the first look at a study shows them.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.progress import time_left_s, until
from hpo.report.study_queries import Subject
from hpo.store.db.hpo_tables import hpo_epoch, hpo_lease
from hpo.store.db.optuna_tables import trials
from hpo.store.studies.trial_states import FINISHED, Counts

WINDOWS_S: Final = (60.0, 600.0, 3600.0, 86_400.0)
ENOUGH: Final = 10
"""Epochs or trials within a window that make a rate; with fewer, a longer window is taken."""
SHORTEST_S: Final = 5.0
"""Workers that have run for less than this have no rate yet."""


@dataclass(frozen=True)
class Rates:
    """What was done within a window that ends now.

    Attributes:
        window_s: Its length in seconds; at most the time since the first live worker started.
        n_trials: Trials that ended; and trials that began, and are paused now.
        n_epochs: Epochs that were reported.
    """

    window_s: float
    n_trials: int
    n_epochs: int

    @property
    def trials_per_s(self) -> float | None:
        """Trials per second; None if none ended."""
        return self.n_trials / self.window_s if self.n_trials else None

    @property
    def epochs_per_s(self) -> float | None:
        """Epochs per second; None if none was reported."""
        return self.n_epochs / self.window_s if self.n_epochs else None


@dataclass(frozen=True)
class TimeLeft:
    """The time until a study's budget is spent at the present rates.

    Attributes:
        about_s: Seconds; None if unknown: the search decides how long paused trials will train.
        at_most_s: Seconds until every trial would be trained to the end, or the deadline; None
            if neither is known.
    """

    about_s: float | None = None
    at_most_s: float | None = None


def rates_of(
    conn: Connection, study_id: int, since: datetime.datetime, now: datetime.datetime
) -> Rates | None:
    """Returns a study's rates over the shortest of `WINDOWS_S` in which enough was done.

    Args:
        since: When the first of its live workers started; naive UTC by the database's clock.
        now: The database's clock.

    Returns:
        The rates; None while its workers have just started, and if they have done nothing.
    """
    found = None
    for window_s in WINDOWS_S:
        begin = max(since, now - datetime.timedelta(seconds=window_s))
        elapsed_s = (now - begin).total_seconds()
        if elapsed_s < SHORTEST_S:
            return None
        n_trials, n_epochs = _n_trials(conn, study_id, begin), _n_epochs(conn, study_id, begin)
        found = Rates(elapsed_s, n_trials, n_epochs)
        if max(n_trials, n_epochs) >= ENOUGH or begin == since:
            break
    return found if found is not None and (found.n_trials or found.n_epochs) else None


def time_left(
    subject: Subject, counts: Counts, n_epochs: int, rates: Rates | None, now: datetime.datetime
) -> TimeLeft:
    """Estimates when a study's budget is spent.

    Args:
        n_epochs: Epochs spent by all trials so far.
        now: The database's clock.
    """
    deadline_s = until(subject.deadline_at, now)
    trials_per_s = None if rates is None else rates.trials_per_s
    epochs_per_s = None if rates is None else rates.epochs_per_s
    n_left = None
    if subject.n_trials is not None:
        n_left = max(0, subject.n_trials - counts.finished - counts.paused)
        if n_left == 0 and counts.total > counts.finished:
            # All have begun; the search decides how long the unfinished ones will train.
            n_left = None
    n_total = _epochs_left(subject, n_epochs, with_trials=False)
    by_total = None if n_total is None or not epochs_per_s else n_total / epochs_per_s
    soonest = [
        s for s in (time_left_s(n_left, trials_per_s, deadline_s), by_total) if s is not None
    ]
    n_most = _epochs_left(subject, n_epochs, with_trials=True)
    return TimeLeft(
        about_s=min(soonest) if soonest else None,
        at_most_s=time_left_s(n_most, epochs_per_s, deadline_s),
    )


def _epochs_left(subject: Subject, n_epochs: int, *, with_trials: bool) -> int | None:
    """Returns the epochs until `total_epochs`, or until every trial would be at its end."""
    if subject.spec is None or not subject.spec.declares_epochs:
        return None
    budget = subject.spec.budget
    ends = [budget.total_epochs]
    if with_trials and subject.n_trials is not None:
        ends.append(subject.n_trials * budget.epochs)
    known = [end for end in ends if end is not None]
    return max(0, min(known) - n_epochs) if known else None


def _n_trials(conn: Connection, study_id: int, begin: datetime.datetime) -> int:
    lease = hpo_lease.c
    of_study = trials.c.study_id == study_id
    ended = sa.select(sa.func.count()).where(
        of_study, trials.c.state.in_(FINISHED), trials.c.datetime_complete >= begin
    )
    is_paused = sa.and_(
        lease.worker_id.is_(None), lease.epoch_stop > 0, lease.epoch >= lease.epoch_stop
    )
    paused = (
        sa.select(sa.func.count())
        .select_from(hpo_lease.join(trials, trials.c.trial_id == lease.trial_id))
        .where(lease.study_id == study_id, is_paused, trials.c.datetime_start >= begin)
    )
    return int(conn.scalar(ended) or 0) + int(conn.scalar(paused) or 0)


def _n_epochs(conn: Connection, study_id: int, begin: datetime.datetime) -> int:
    # Few trials have reported within the window: those whose lease has moved, and those that have
    # ended. Their epochs are found by the primary key.
    lease = hpo_lease.c
    moved = sa.select(lease.trial_id).where(lease.study_id == study_id, lease.updated_at >= begin)
    ended = sa.select(trials.c.trial_id).where(
        trials.c.study_id == study_id, trials.c.datetime_complete >= begin
    )
    recent = sa.union(moved, ended).subquery()
    query = (
        sa.select(sa.func.count())
        .select_from(recent.join(hpo_epoch, hpo_epoch.c.trial_id == recent.c.trial_id))
        .where(hpo_epoch.c.reported_at >= begin)
    )
    return int(conn.scalar(query) or 0)
