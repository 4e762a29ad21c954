"""Work log: which worker trained which trial when, as far as the database knows.

An epoch's row says when it was reported and how long it took. The decision log says which worker
was given the trial before. Trials without epochs are there from their start to their end.
"""

from __future__ import annotations

import bisect
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.study_queries import Subject
from hpo.report.trial_details import chunks
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_event, hpo_lease, hpo_suggestion, hpo_worker
from hpo.store.db.optuna_tables import trials
from hpo.store.studies.trial_states import RUNNING, live_workers, shown_state

MOST_TRIALS: Final = 400
"""Trials of one log; of more, the last ones."""
_GAP: Final = timedelta(seconds=2)
"""Epochs of a trial with less time between them are one stretch, or with less than an epoch's."""


@dataclass(frozen=True)
class Stretch:
    """A time in which a worker trained a trial without a pause.

    Attributes:
        number: The trial.
        state: One of `hpo.store.studies.trial_states.STATES`.
        attempt: How often the trial was begun or resumed after its worker was lost, from 1.
        worker_id: Who trained it; None if the database does not know.
        start: Naive UTC.
        end: Naive UTC.
        n_epochs: Epochs that were reported in it.
    """

    number: int
    state: str
    attempt: int
    worker_id: int | None
    start: datetime
    end: datetime
    n_epochs: int = 0


@dataclass(frozen=True)
class Loss:
    """A worker that was lost with a trial.

    Attributes:
        worker_id: The worker.
        number: The trial.
        at: When this was noticed; naive UTC.
        message: What happened.
    """

    worker_id: int
    number: int
    at: datetime
    message: str


@dataclass(frozen=True)
class WorkLog:
    """The last trials of a study, and who trained them.

    Attributes:
        stretches: By start.
        losses: Workers that were lost meanwhile.
        workers: Host and device of each worker by its id.
        n_trials: Number of trials that have started.
        n_shown: Number of trials in the log.
    """

    stretches: Sequence[Stretch]
    losses: Sequence[Loss]
    workers: Mapping[int, str]
    n_trials: int
    n_shown: int


def read_work_log(db: Database, subject: Subject, limit: int = MOST_TRIALS) -> WorkLog:
    """Reads who trained the last trials of a study."""
    with db.read() as conn:
        begun = trials.c.datetime_start.is_not(None) & (trials.c.study_id == subject.study_id)
        n = conn.scalar(sa.select(sa.func.count()).select_from(trials).where(begun)) or 0
        state = shown_state(live_workers(conn, db, subject.study_id))
        query = (
            sa.select(
                trials.c.trial_id,
                trials.c.number,
                state.label("shown"),
                trials.c.datetime_start.label("start"),
                trials.c.datetime_complete.label("end"),
                hpo_lease.c.worker_id,
                hpo_lease.c.attempt,
            )
            .outerjoin(hpo_lease, hpo_lease.c.trial_id == trials.c.trial_id)
            .where(begun)
            .order_by(trials.c.number.desc())
            .limit(limit)
        )
        rows = conn.execute(query).all()
        grants = _grants(conn, subject, min((row.start for row in rows), default=None))
        epochs = _epochs(conn, [row.trial_id for row in rows])
        now = db.now(conn)
        found = [
            stretch
            for row in rows
            for stretch in _stretches(row, epochs.get(row.trial_id, ()), grants, now)
        ]
        losses = _losses(conn, subject, {row.trial_id: row.number for row in rows})
        workers = _workers(conn, subject)
    found.sort(key=lambda stretch: (stretch.start, stretch.number))
    return WorkLog(found, losses, workers, n, len(rows))


class _Grants:
    """Which worker was given a trial, and from which epoch on."""

    def __init__(self) -> None:
        self._found: dict[int, list[tuple[datetime, int, int]]] = defaultdict(list)

    def add(self, number: int, at: datetime, epoch: int, worker_id: int) -> None:
        self._found[number].append((at, epoch, worker_id))

    def worker_of(self, number: int, at: datetime, epoch: int) -> int | None:
        """Returns the worker that had the trial at a time and trained an epoch of it then."""
        given = self._found.get(number, [])
        earlier = given[: bisect.bisect_right(given, at, key=lambda one: one[0])]
        fitting = [worker_id for _, first, worker_id in earlier if first < epoch]
        # The record of a grant is written after it, and may be late.
        rest = [worker_id for _, first, worker_id in given if first < epoch]
        return fitting[-1] if fitting else rest[0] if rest else None


def _grants(conn: Connection, subject: Subject, since: datetime | None) -> _Grants:
    column, found = hpo_suggestion.c, _Grants()
    query = (
        sa.select(column.worker_id, column.at, column.record)
        .where(column.study_id == subject.study_id, column.worker_id.is_not(None))
        .order_by(column.suggestion_id)
    )
    if since is not None:
        query = query.where(column.at >= since - _GAP)
    for worker_id, at, text in conn.execute(query):
        for number, epoch in _granted(text):
            found.add(number, at, epoch, worker_id)
    return found


def _granted(record: str) -> Iterator[tuple[int, int]]:
    """Yields the trials of a record of the decision log, and where they stood."""
    for number, epoch, *_ in json.loads(record).get("granted", ()):
        yield int(number), int(epoch)


def _epochs(conn: Connection, ids: Sequence[int]) -> dict[int, list[Any]]:
    column = hpo_epoch.c
    found: dict[int, list[Any]] = defaultdict(list)
    for chunk in chunks(ids):
        query = (
            sa.select(
                column.trial_id, column.epoch, column.seconds, column.attempt, column.reported_at
            )
            .where(column.trial_id.in_(chunk))
            .order_by(column.trial_id, column.epoch)
        )
        for row in conn.execute(query):
            found[row.trial_id].append(row)
    return found


def _stretches(row: Any, epochs: Sequence[Any], grants: _Grants, now: datetime) -> list[Stretch]:
    if not epochs:
        worker_id = row.worker_id or grants.worker_of(row.number, row.end or now, 1)
        end = row.end or (now if row.shown == RUNNING else row.start)
        return [Stretch(row.number, row.shown, row.attempt or 1, worker_id, row.start, end)]
    found: list[Stretch] = []
    for at, attempt, first, n, seconds in _reports(epochs):
        worker_id = grants.worker_of(row.number, at, first)
        if worker_id is None and at == epochs[-1].reported_at:
            worker_id = row.worker_id
        lasted = timedelta(seconds=seconds)
        begin = at - lasted
        last = found[-1] if found else None
        if last is not None:
            begin = max(begin, last.end)
            is_same = (last.worker_id, last.attempt) == (worker_id, attempt)
            if is_same and begin - last.end <= max(_GAP, lasted / n):
                found[-1] = replace(last, end=at, n_epochs=last.n_epochs + n)
                continue
        found.append(Stretch(row.number, row.shown, attempt, worker_id, begin, at, n))
    return found


def _reports(epochs: Sequence[Any]) -> list[tuple[datetime, int, int, int, float]]:
    """Returns what was reported together: when, attempt, first epoch, number, seconds."""
    found: list[tuple[datetime, int, int, int, float]] = []
    for row in epochs:
        if found and found[-1][:2] == (row.reported_at, row.attempt):
            at, attempt, first, n, seconds = found[-1]
            found[-1] = (at, attempt, first, n + 1, seconds + row.seconds)
        else:
            found.append((row.reported_at, row.attempt, row.epoch, 1, row.seconds))
    return found


def _losses(conn: Connection, subject: Subject, numbers: Mapping[int, int]) -> list[Loss]:
    column = hpo_event.c
    query = (
        sa.select(column.worker_id, column.trial_id, column.at, column.message)
        .where(column.study_id == subject.study_id, column.kind == "lost")
        .order_by(column.event_id)
    )
    return [
        Loss(row.worker_id, numbers[row.trial_id], row.at, row.message)
        for row in conn.execute(query)
        if row.trial_id in numbers and row.worker_id is not None
    ]


def _workers(conn: Connection, subject: Subject) -> dict[int, str]:
    column = hpo_worker.c
    query = sa.select(column.worker_id, column.host, column.device)
    query = query.where(column.study_id == subject.study_id).order_by(column.worker_id)
    return {row.worker_id: f"{row.host}, {row.device}" for row in conn.execute(query)}
