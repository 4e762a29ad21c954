"""Trial report: all that the database knows of one trial."""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report import optuna_values
from hpo.report.study_queries import Subject
from hpo.report.trial_hosts import find_hosts
from hpo.report.trial_pages import TrialRow, trial_of
from hpo.search.base.grants import Granted, explained
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import (
    hpo_epoch,
    hpo_event,
    hpo_lease,
    hpo_suggestion,
    hpo_worker,
)
from hpo.store.db.optuna_tables import (
    row_to_intermediate,
    trial_intermediate_values,
    trial_system_attributes,
)
from hpo.store.rows.unreadable_rows import UNREADABLE

FIXED_PARAMS: Final = "fixed_params"
RETRIED_FROM: Final = "retried_from"
MARGIN: Final = datetime.timedelta(minutes=5)
"""How long before a trial's start its assignment may have been recorded, or after its end."""


class Epoch(NamedTuple):
    """An epoch, or a step that an objective has reported.

    Attributes:
        epoch: Its number.
        metrics: By name.
        learning_rate: At its end; None if unknown, like the others.
        seconds: Its duration.
        attempt: 1, and one more for each worker that was lost with the trial.
        reported_at: Naive UTC by the database's clock.
    """

    epoch: int
    metrics: dict[str, float]
    learning_rate: float | None = None
    seconds: float | None = None
    attempt: int | None = None
    reported_at: datetime.datetime | None = None


class TrialWorker(NamedTuple):
    """A worker that has trained the trial, as far as is recorded."""

    worker_id: int
    host: str
    pid: int
    device: str

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Assignment(NamedTuple):
    """An assignment of the trial to a worker by the search.

    Attributes:
        epoch: Where the trial stood.
        epoch_stop: Up to which epoch it was assigned.
        reason: Why, in words.
    """

    at: datetime.datetime
    worker_id: int | None
    epoch: int
    epoch_stop: int
    reason: str


class TrialEvent(NamedTuple):
    """An event of the trial; its message is in full."""

    at: datetime.datetime
    kind: str
    message: str
    worker_id: int | None


@dataclass(frozen=True)
class TrialReport:
    """A trial on one page.

    Attributes:
        trial: Its state, values and params.
        epochs: Its learning curve.
        attempt: Number of the present or last attempt; None for a trial without any.
        holder: Id of the worker that has it now; None if no worker has.
        epoch_stop: Up to which epoch it is assigned now.
        workers: Those that have trained it, by id.
        assignments: Those that the search has recorded, oldest first.
        events: Oldest first.
        was_enqueued: It was enqueued with given params.
        retry_of: Number of the failed trial in whose place it is; None if it is no retry.
        now: The database's clock, naive UTC.
    """

    subject: Subject
    trial: TrialRow
    epochs: tuple[Epoch, ...]
    attempt: int | None
    holder: int | None
    epoch_stop: int | None
    workers: tuple[TrialWorker, ...]
    assignments: tuple[Assignment, ...]
    events: tuple[TrialEvent, ...]
    was_enqueued: bool
    retry_of: int | None
    now: datetime.datetime

    @property
    def trained_s(self) -> float | None:
        """Seconds of its epochs; None if no epoch has any."""
        known = [epoch.seconds for epoch in self.epochs if epoch.seconds is not None]
        return sum(known) if known else None

    @property
    def last_event(self) -> TrialEvent | None:
        """The event that ended it; None for one without events."""
        return self.events[-1] if self.events else None

    @property
    def traceback(self) -> str | None:
        """The message of the event by which it failed, in full; None if it has not failed."""
        last = self.last_event
        return last.message if self.trial.state == "FAIL" and last and last.message else None


def trial_report(db: Database, subject: Subject, number: int) -> TrialReport:
    """Reads all that is known of a trial.

    Raises:
        SpecError: The study has no trial with this number.
    """
    # It has the error for a trial that does not exist.
    find_hosts(db, subject, number)
    with db.read() as conn:
        trial = trial_of(conn, db, subject, number)
        assert trial is not None
        lease = conn.execute(
            sa.select(hpo_lease).where(hpo_lease.c.trial_id == trial.trial_id)
        ).first()
        epochs = _epochs(conn, subject, trial.trial_id)
        events = _events(conn, trial.trial_id)
        assignments = _assignments(conn, subject, trial)
        holder = None if lease is None else lease.worker_id
        ids = {holder, *(e.worker_id for e in events), *(a.worker_id for a in assignments)}
        attempts = [epoch.attempt for epoch in epochs if epoch.attempt is not None]
        return TrialReport(
            subject=subject,
            trial=trial,
            epochs=epochs,
            attempt=max(attempts, default=None) if lease is None else lease.attempt,
            holder=holder,
            epoch_stop=None if lease is None else lease.epoch_stop,
            workers=_workers(conn, {i for i in ids if i is not None}),
            assignments=assignments,
            events=events,
            was_enqueued=_has_fixed_params(conn, trial.trial_id),
            retry_of=trial.user_attrs.get(RETRIED_FROM),
            now=db.now(conn),
        )


def _epochs(conn: Connection, subject: Subject, trial_id: int) -> tuple[Epoch, ...]:
    epoch = hpo_epoch.c
    query = sa.select(
        epoch.epoch,
        epoch.metrics,
        epoch.learning_rate,
        epoch.seconds,
        epoch.attempt,
        epoch.reported_at,
    ).where(epoch.trial_id == trial_id)
    found = [
        Epoch(number, optuna_values.metrics(text), *others)
        for number, text, *others in conn.execute(query.order_by(epoch.epoch))
    ]
    return tuple(found) or _steps(conn, subject, trial_id)


def _steps(conn: Connection, subject: Subject, trial_id: int) -> tuple[Epoch, ...]:
    """Returns what an objective has reported to Optuna alone."""
    table = trial_intermediate_values.c
    query = sa.select(table.step, table.intermediate_value, table.intermediate_value_type)
    query = query.where(table.trial_id == trial_id).order_by(table.step)
    name = subject.metrics[0]
    return tuple(
        Epoch(step, {name: row_to_intermediate(value, kind)})
        for step, value, kind in conn.execute(query)
    )


def _events(conn: Connection, trial_id: int) -> tuple[TrialEvent, ...]:
    event = hpo_event.c
    query = sa.select(event.at, event.kind, event.message, event.worker_id)
    query = query.where(event.trial_id == trial_id).order_by(event.event_id)
    return tuple(TrialEvent(*row) for row in conn.execute(query))


def _assignments(conn: Connection, subject: Subject, trial: TrialRow) -> tuple[Assignment, ...]:
    """Reads the decision log; only the records that may name the trial are parsed."""
    column = hpo_suggestion.c
    query = (
        sa.select(column.at, column.worker_id, column.record)
        .where(column.study_id == subject.study_id, column.record.contains(f"[{trial.number},"))
        .order_by(column.suggestion_id)
    )
    if trial.started_at is not None:
        query = query.where(column.at >= trial.started_at - MARGIN)
    if trial.ended_at is not None:
        query = query.where(column.at <= trial.ended_at + MARGIN)
    return tuple(
        Assignment(at, worker_id, granted.epoch, granted.epoch_stop, explained(granted))
        for at, worker_id, text in conn.execute(query)
        for granted in _granted(text)
        if granted.number == trial.number
    )


def _granted(text: str) -> Iterable[Granted]:
    try:
        return [Granted(*one) for one in json.loads(text)["granted"]]
    except UNREADABLE:
        # `hpo replay` names the row; a page of a trial does without it.
        return []


def _workers(conn: Connection, ids: Collection[int]) -> tuple[TrialWorker, ...]:
    worker = hpo_worker.c
    query = sa.select(worker.worker_id, worker.host, worker.pid, worker.device)
    query = query.where(worker.worker_id.in_(sorted(ids))).order_by(worker.worker_id)
    return tuple(TrialWorker(*row) for row in conn.execute(query)) if ids else ()


def _has_fixed_params(conn: Connection, trial_id: int) -> bool:
    table = trial_system_attributes.c
    query = sa.select(table.value_json)
    query = query.where(table.trial_id == trial_id, table.key == FIXED_PARAMS)
    text = conn.scalar(query)
    return text is not None and text != "{}"
