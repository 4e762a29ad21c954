"""Database activity: its studies and their workers at one moment."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

from hpo.report.activity.rates import Rates, rates_of
from hpo.report.activity.worker_states import DEAD, WorkerState, worker_states
from hpo.report.study_list import StudyRow, list_studies
from hpo.store.db.database import Database

MOST_RATED: Final = 32
"""Maximum number of studies whose rates are read at once; others have none."""
_ORDER = ("active", "optuna", "paused", "stopped", "done")


@dataclass(frozen=True)
class StudyLoad:
    """A study and its workers' rates; None while nothing runs."""

    row: StudyRow
    rates: Rates | None


@dataclass(frozen=True)
class DatabaseActivity:
    """A database at one moment.

    Attributes:
        studies: Those with workers first, then by state, then the latest change first.
        workers: Workers of all studies that have not ended, dead ones included.
        names: Name of each study, by its id.
        now: The database's clock, naive UTC.
    """

    studies: tuple[StudyLoad, ...]
    workers: tuple[WorkerState, ...]
    names: dict[int, str]
    now: datetime.datetime


def database_activity(db: Database) -> DatabaseActivity:
    """Reads a database at one moment; the number of queries is bounded."""
    rows, now = list_studies(db)
    ended = {row.subject.study_id for row in rows if row.subject.has_ended}
    with db.read() as conn:
        found = worker_states(conn, now)
        # Workers that died with a study that has ended are of no interest.
        workers = tuple(
            each for each in found if each.state != DEAD or each.worker.study_id not in ended
        )
        since: dict[int, datetime.datetime] = {}
        for each in workers:
            worker = each.worker
            if each.state != DEAD:
                first = since.get(worker.study_id, worker.started_at)
                since[worker.study_id] = min(first, worker.started_at)
        rated = list(since.items())[:MOST_RATED]
        rates = {study_id: rates_of(conn, study_id, begin, now) for study_id, begin in rated}
    return DatabaseActivity(
        studies=tuple(
            StudyLoad(row, rates.get(row.subject.study_id)) for row in sorted(rows, key=_rank)
        ),
        workers=workers,
        names={row.subject.study_id: row.subject.name for row in rows},
        now=now,
    )


def _rank(row: StudyRow) -> tuple[bool, int, float]:
    state, updated_at = row.subject.state, row.updated_at
    age = -updated_at.timestamp() if updated_at is not None else 0.0
    order = _ORDER.index(state) if state in _ORDER else len(_ORDER)
    return not row.n_workers, order, age
