"""Study comparison: how studies of one metric improved over trials, epochs and hours."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.errors import SpecError
from hpo.report.study_queries import Subject
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch
from hpo.store.db.optuna_tables import name_of, row_to_value, trial_values, trials
from hpo.store.studies.trial_states import FINISHED, Counts, counts_of

# Counts of one statement: SQLite takes a few thousand terms, and few studies have more bests.
_MOST_COUNTS: Final = 50


class Improvement(NamedTuple):
    """A complete trial that was better than all before it.

    Attributes:
        number: Of the trial.
        value: Its value.
        trials: Trials of the study that had ended then, this one included.
        epochs: Epochs that all trials had trained by then.
        hours: Since the first trial began.
    """

    number: int
    value: float
    trials: int
    epochs: int
    hours: float


@dataclass(frozen=True)
class Contestant:
    """A study among those that are compared.

    Attributes:
        counts: Its trials by state.
        n_epochs: Epochs of all its trials.
        hours: From the start of its first trial to the end of its last one, pauses included; 0
            without an ended trial.
        improvements: In the order of time; the last one is the best trial.
        best_of_equal: Best value among the trials that had ended when as many had ended as in the
            smallest of the studies; None if none of them was complete.
    """

    subject: Subject
    counts: Counts
    n_epochs: int
    hours: float
    improvements: tuple[Improvement, ...]
    best_of_equal: float | None = None

    @property
    def best(self) -> Improvement | None:
        """The best complete trial."""
        return self.improvements[-1] if self.improvements else None


@dataclass(frozen=True)
class Comparison:
    """Studies side by side.

    Attributes:
        n_equal: Number of ended trials in the study that has the fewest.
        contestants: In the order in which they were named.
    """

    n_equal: int
    contestants: tuple[Contestant, ...]


def compare(db: Database, subjects: Sequence[Subject]) -> Comparison:
    """Compares studies.

    Raises:
        SpecError: They do not optimise the same single metric in the same direction.
    """
    first = subjects[0]
    for subject in subjects:
        if len(subject.directions) > 1:
            raise SpecError(
                f"{subject.name} has several objectives; only studies of one can be compared"
            )
        if (subject.metrics, subject.directions) != (first.metrics, first.directions):
            raise SpecError(
                f"{first.name} optimises {_goal(first)}, and {subject.name} {_goal(subject)}: "
                "their values cannot be compared"
            )
    with db.read() as conn:
        found = [_contestant(conn, db, subject) for subject in subjects]
    n_equal = min(one.counts.finished for one in found)
    return Comparison(n_equal, tuple(_with_equal(one, n_equal) for one in found))


def _goal(subject: Subject) -> str:
    return f"{subject.direction} {subject.metric}"


def _with_equal(one: Contestant, n: int) -> Contestant:
    within = [each.value for each in one.improvements if each.trials <= n]
    return replace(one, best_of_equal=within[-1] if within else None)


class _End(NamedTuple):
    number: int
    state: str
    started_at: datetime.datetime | None
    ended_at: datetime.datetime
    value: float | None


def _contestant(conn: Connection, db: Database, subject: Subject) -> Contestant:
    ends = _ends(conn, subject)
    starts = [end.started_at for end in ends if end.started_at is not None]
    start = min(starts, default=ends[0].ended_at if ends else None)
    best: list[tuple[int, _End]] = []
    for n, end in enumerate(ends, start=1):
        if end.state != "COMPLETE" or end.value is None or math.isnan(end.value):
            continue
        if best and not _is_better(end.value, best[-1][1].value or 0.0, subject):
            continue
        best.append((n, end))
    n_epochs, before = _count_epochs(conn, subject, [end.ended_at for _, end in best])
    improvements = [
        Improvement(end.number, end.value or 0.0, n, n_before, _hours(start, end.ended_at))
        for (n, end), n_before in zip(best, before, strict=True)
    ]
    return Contestant(
        subject=subject,
        counts=counts_of(conn, db, subject.study_id),
        n_epochs=n_epochs,
        hours=_hours(start, ends[-1].ended_at) if start is not None else 0.0,
        improvements=tuple(improvements),
    )


def _is_better(value: float, best: float, subject: Subject) -> bool:
    return value > best if subject.direction == "maximize" else value < best


def _hours(start: datetime.datetime | None, end: datetime.datetime) -> float:
    return 0.0 if start is None else max(0.0, (end - start).total_seconds() / 3600)


def _ends(conn: Connection, subject: Subject) -> list[_End]:
    """Returns the ended trials, in the order in which they ended."""
    value = trial_values.c
    is_first = sa.and_(value.trial_id == trials.c.trial_id, value.objective == 0)
    query = (
        sa.select(
            trials.c.number,
            name_of(trials.c.state),
            trials.c.datetime_start,
            trials.c.datetime_complete,
            value.value,
            value.value_type,
        )
        .outerjoin(trial_values, is_first)
        .where(
            trials.c.study_id == subject.study_id,
            trials.c.state.in_(FINISHED),
            trials.c.datetime_complete.is_not(None),
        )
        .order_by(trials.c.datetime_complete, trials.c.number)
    )
    return [
        _End(number, state, start, end, None if kind is None else row_to_value(number_of, kind))
        for number, state, start, end, number_of, kind in conn.execute(query)
    ]


def _count_epochs(
    conn: Connection, subject: Subject, ends: Sequence[datetime.datetime]
) -> tuple[int, list[int]]:
    """Returns the epochs of a study, and those reported until each of some moments."""
    reported = hpo_epoch.c.reported_at
    counts = [sa.func.sum(sa.case((reported <= end, 1), else_=0)) for end in ends]
    n_epochs, before = 0, []
    for begin in range(0, max(1, len(counts)), _MOST_COUNTS):
        query = (
            sa.select(sa.func.count(), *counts[begin : begin + _MOST_COUNTS])
            .select_from(hpo_epoch)
            .join(trials, trials.c.trial_id == hpo_epoch.c.trial_id)
            .where(trials.c.study_id == subject.study_id)
        )
        n_epochs, *found = conn.execute(query).one()
        before += [int(n or 0) for n in found]
    return int(n_epochs), before
