"""Study activity: all that a watcher sees of one study at one moment."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.errors import HpoError
from hpo.report.activity.rates import Rates, TimeLeft, rates_of, time_left
from hpo.report.activity.running_trials import RunningTrial, running_trials
from hpo.report.activity.worker_states import DEAD, WorkerState, worker_states
from hpo.report.learning_curves import curve_points
from hpo.report.overview import EventRow, latest_events
from hpo.report.progress import Snapshot, read_snapshot
from hpo.report.study_queries import FOREIGN, Subject, find
from hpo.report.trial_pages import Page, TrialRow, page_of
from hpo.store.db.database import Database
from hpo.store.db.optuna_tables import studies, trials
from hpo.store.studies.trial_states import FINISHED, PAUSED, WAITING

N_EVENTS = 20


@dataclass(frozen=True)
class StudyActivity:
    """A study at one moment; times are naive UTC by the database's clock.

    Attributes:
        leader: Of a study without a best trial, the paused or interrupted trial with the best
            last value.
        curve: Epochs and values of the best trial's or the leader's metrics, by metric.
        running: Its running trials, by number.
        workers: Workers that have not ended, dead ones included.
        rates: None while nothing runs, and if the study is paused.
        events: The newest events, newest first.
        now: The database's clock.
        ended_at: When its last trial ended, of a study that has ended.
    """

    subject: Subject
    snapshot: Snapshot
    leader: TrialRow | None
    curve: Mapping[str, tuple[tuple[int, ...], tuple[float, ...]]]
    running: tuple[RunningTrial, ...]
    workers: tuple[WorkerState, ...]
    rates: Rates | None
    left: TimeLeft
    events: tuple[EventRow, ...]
    now: datetime.datetime
    ended_at: datetime.datetime | None = None

    @property
    def n_live(self) -> int:
        """The number of live workers."""
        return sum(each.state != DEAD for each in self.workers)

    @property
    def has_ended(self) -> bool:
        """Whether nothing changes any more unless a user resumes the study."""
        return self.subject.has_ended and not self.n_live

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from the study's creation to its end, or until now; None for Optuna's."""
        created_at, until = self.subject.created_at, self.ended_at or self.now
        return None if created_at is None else max(0.0, (until - created_at).total_seconds())


def study_activity(
    db: Database, name: str | None = None, known: StudyActivity | None = None
) -> StudyActivity:
    """Reads a study at one moment; the number of queries is bounded.

    Args:
        name: The study's name; may be None if the database holds only one.
        known: An earlier moment of the same study, which may have been renamed since. What cannot
            have changed is not read again.

    Raises:
        SpecError: There is no such study.
        HpoError: The known one was deleted.
    """
    subject = find(db, name if known is None else _name_now(db, known.subject))
    with db.read() as conn:
        now, study_id = db.now(conn), subject.study_id
        best = None if known is None else known.snapshot.best
        found = read_snapshot(conn, db, subject, best=best)
        workers = worker_states(conn, now, study_id)
        live = [each.worker for each in workers if each.state != DEAD]
        rates = None
        if live and subject.state in ("active", FOREIGN):
            since = min(worker.started_at for worker in live)
            rates = rates_of(conn, study_id, since, now)
        live_ids = {worker.worker_id: study_id for worker in live}
        leader = None if found.best else _leader(conn, subject, found, live_ids)
        shown = found.best or leader
        return StudyActivity(
            subject=subject,
            snapshot=found,
            leader=leader,
            curve={} if shown is None else curve_points(conn, subject, shown.trial_id),
            running=running_trials(conn, study_id, live_ids),
            workers=workers,
            rates=rates,
            left=time_left(subject, found.counts, found.n_epochs, rates, now),
            events=latest_events(conn, study_id, N_EVENTS),
            now=now,
            ended_at=_ended_at(conn, study_id) if subject.has_ended else None,
        )


def _name_now(db: Database, subject: Subject) -> str:
    """Returns the present name of a study."""
    query = sa.select(studies.c.study_name).where(studies.c.study_id == subject.study_id)
    with db.read() as conn:
        found: str | None = conn.scalar(query)
    if found is None:
        raise HpoError(f"{subject.name} was deleted")
    return found


def _leader(
    conn: Connection, subject: Subject, found: Snapshot, live: Mapping[int, int]
) -> TrialRow | None:
    counts = found.counts
    if len(subject.directions) != 1 or not counts.paused + counts.waiting:
        return None
    for trial in page_of(conn, subject, Page("best", (PAUSED, WAITING), 1), live):
        return trial if trial.value is not None else None
    return None


def _ended_at(conn: Connection, study_id: int) -> datetime.datetime | None:
    query = sa.select(sa.func.max(trials.c.datetime_complete)).where(
        trials.c.study_id == study_id, trials.c.state.in_(FINISHED)
    )
    found: datetime.datetime | None = conn.scalar(query)
    return found
