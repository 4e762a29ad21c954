"""Overview: the data of one study's page."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.endings_summary import Ending, endings_of
from hpo.report.progress import epochs_spent
from hpo.report.study_queries import Subject
from hpo.report.trial_pages import TrialRow, best_trial
from hpo.spec.space.search_space import Categorical, Fixed, Parameter
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event, hpo_study
from hpo.store.db.optuna_tables import trials
from hpo.store.rows import events, stack_statistics, worker_list
from hpo.store.rows.stack_statistics import Usage
from hpo.store.rows.worker_list import WorkerRow
from hpo.store.studies.trial_states import GRACE_S, Counts, counts_of

N_EVENTS = 8
# Complete and pruned trials are part of a normal study. Notices are shown separately.
_QUIET = ("complete", "pruned", events.NOTICE)


@dataclass(frozen=True)
class EventRow:
    """An event; ``number`` is its trial, if any."""

    at: datetime.datetime
    kind: str
    number: int | None
    message: str


class Prospect(Protocol):
    """Forecast of more trials; made by `hpo.search.model.forecast`, which loads PyTorch."""

    @property
    def chance(self) -> float | None:
        """Probability of any improvement."""

    @property
    def gain(self) -> float | None:
        """Expected improvement."""


@dataclass(frozen=True)
class NoProspect:
    """No estimate is possible."""

    chance: None = None
    gain: None = None

    def __str__(self) -> str:
        return "no estimate until trials have values of one objective"


NO_OUTLOOK = NoProspect()


@dataclass(frozen=True)
class Overview:
    """A study on one page.

    Attributes:
        usage: How full the stacks of all its workers were.
        notices: Warnings about the study's data.
        alone: Why some trials are not trained in stacks.
        learnt_from: Studies that its first points come from; None if it uses no others.
        endings: How trials ended PRUNED or FAIL, most frequent first.
        events: The newest events, newest first.
        now: The database's clock, naive UTC.
        outlook: Forecast of more trials, if requested.
    """

    subject: Subject
    counts: Counts
    n_epochs: int
    best: TrialRow | None
    workers: tuple[WorkerRow, ...]
    usage: Usage
    notices: tuple[str, ...]
    alone: tuple[str, ...]
    learnt_from: tuple[str, ...] | None
    endings: tuple[Ending, ...]
    events: tuple[EventRow, ...]
    now: datetime.datetime
    outlook: Prospect | None = None


def overview(db: Database, subject: Subject, grace_s: float = GRACE_S) -> Overview:
    """Reads a study's page; the number of queries is constant."""
    live = tuple(worker_list.live(db, subject.study_id, grace_s))
    with db.read() as conn:
        return Overview(
            subject=subject,
            counts=counts_of(conn, db, subject.study_id),
            n_epochs=epochs_spent(conn, subject.study_id),
            best=best_trial(conn, subject),
            workers=live,
            usage=stack_statistics.usage(conn, subject.study_id),
            notices=events.notices_of(conn, subject.study_id),
            alone=_alone(conn, subject.study_id),
            learnt_from=_learnt_from(conn, subject.study_id),
            endings=endings_of(conn, subject.study_id),
            events=latest_events(conn, subject.study_id),
            now=db.now(conn),
        )


def _alone(conn: Connection, study_id: int) -> tuple[str, ...]:
    event = hpo_event.c
    statement = sa.select(event.message).where(event.study_id == study_id, event.kind == "alone")
    return tuple(conn.scalars(statement.distinct().order_by(event.message)))


def _learnt_from(conn: Connection, study_id: int) -> tuple[str, ...] | None:
    query = sa.select(hpo_study.c.prior).where(hpo_study.c.study_id == study_id)
    prior = conn.execute(query).scalar_one_or_none()
    # A separate module computes it, because that loads PyTorch.
    return None if prior is None else tuple(json.loads(prior)["sources"])


def latest_events(conn: Connection, study_id: int, limit: int = N_EVENTS) -> tuple[EventRow, ...]:
    """Returns the newest events of a study, newest first, except prunings and notices."""
    query = (
        sa.select(hpo_event.c.at, hpo_event.c.kind, trials.c.number, hpo_event.c.message)
        .outerjoin(trials, trials.c.trial_id == hpo_event.c.trial_id)
        .where(hpo_event.c.study_id == study_id, hpo_event.c.kind.not_in(_QUIET))
        .order_by(hpo_event.c.event_id.desc())
        .limit(limit)
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
