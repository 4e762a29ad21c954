"""Everything worth knowing about one study, on one page."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.progress import epochs_spent
from hpo.report.queries import GRACE_S, Counts, Subject, count_states
from hpo.report.trials import TrialRow, best_trial
from hpo.spec.space import Categorical, Fixed, Parameter
from hpo.store import workers
from hpo.store.database import Database
from hpo.store.optuna_schema import trials
from hpo.store.tables import hpo_event
from hpo.store.workers import WorkerRow

N_EVENTS = 8


@dataclass(frozen=True)
class EventRow:
    """Something that happened; ``number`` is the trial it is about, if any."""

    at: datetime.datetime
    kind: str
    number: int | None
    message: str


@dataclass(frozen=True)
class Overview:
    """A study on one page.

    Attributes:
        endings: How many trials ended PRUNED or FAIL, by the kind of their last event.
        events: The newest events, newest first.
        now: The database's clock, naive UTC.
    """

    subject: Subject
    counts: Counts
    n_epochs: int
    best: TrialRow | None
    workers: tuple[WorkerRow, ...]
    endings: Mapping[str, int]
    events: tuple[EventRow, ...]
    now: datetime.datetime


def overview(db: Database, subject: Subject, grace_s: float = GRACE_S) -> Overview:
    """Reads a study's page; the number of queries is constant."""
    live = tuple(workers.live(db, subject.study_id, grace_s))
    with db.read() as conn:
        return Overview(
            subject=subject,
            counts=count_states(conn, subject.study_id).get(subject.study_id, Counts()),
            n_epochs=epochs_spent(conn, subject.study_id),
            best=best_trial(conn, subject),
            workers=live,
            endings=_endings(conn, subject.study_id),
            events=_events(conn, subject.study_id),
            now=db.now(conn),
        )


def _endings(conn: Connection, study_id: int) -> dict[str, int]:
    last = (
        sa.select(sa.func.max(hpo_event.c.event_id).label("event_id"))
        .join(trials, trials.c.trial_id == hpo_event.c.trial_id)
        .where(hpo_event.c.study_id == study_id, trials.c.state.in_(("PRUNED", "FAIL")))
        .group_by(hpo_event.c.trial_id)
        .subquery()
    )
    query = (
        sa.select(hpo_event.c.kind, sa.func.count())
        .join(last, last.c.event_id == hpo_event.c.event_id)
        .group_by(hpo_event.c.kind)
        .order_by(sa.func.count().desc(), hpo_event.c.kind)
    )
    return dict(conn.execute(query).tuples().all())


def _events(conn: Connection, study_id: int) -> tuple[EventRow, ...]:
    query = (
        sa.select(hpo_event.c.at, hpo_event.c.kind, trials.c.number, hpo_event.c.message)
        .outerjoin(trials, trials.c.trial_id == hpo_event.c.trial_id)
        # That a trial was pruned is the everyday business of a study.
        .where(hpo_event.c.study_id == study_id, hpo_event.c.kind != "pruned")
        .order_by(hpo_event.c.event_id.desc())
        .limit(N_EVENTS)
    )
    return tuple(EventRow(*row) for row in conn.execute(query))


def describe(parameter: Parameter) -> str:
    """Writes a parameter's range: ``0.0001 .. 1 (log)``, ``32 | 64``, ``= sgd``."""
    if isinstance(parameter, Fixed):
        text = f"= {_plain(parameter.value)}"
    elif isinstance(parameter, Categorical):
        text = " | ".join(_plain(choice) for choice in parameter.choices)
    else:
        marks = ["log"] * parameter.log + [f"step {parameter.step}"] * (parameter.step is not None)
        text = f"{parameter.low:g} .. {parameter.high:g}" + (
            f" ({', '.join(marks)})" if marks else ""
        )
    conditions = [
        f"{name} is {' or '.join(_plain(v) for v in allowed)}"
        for name, allowed in parameter.when.items()
    ]
    return text + (f"  when {' and '.join(conditions)}" if conditions else "")


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
