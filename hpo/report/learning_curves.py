"""Learning curves of a study, and values of its trials, for plots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.errors import HpoError, SpecError
from hpo.report import optuna_values
from hpo.report.study_queries import Subject
from hpo.report.trial_details import CHUNK, chunks, last_values_of
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_lease
from hpo.store.db.optuna_tables import (
    name_of,
    row_to_intermediate,
    row_to_value,
    trial_intermediate_values,
    trial_values,
    trials,
)
from hpo.store.studies.trial_states import PAUSED, WAITING, live_workers, shown_state

MOST_CURVES: Final = 300
"""Maximum number of curves in one plot; more are unreadable and slow to draw."""


@dataclass(frozen=True)
class Curve:
    """The reported metrics of a trial.

    Attributes:
        number: Number of the trial.
        state: Optuna's state.
        points: Epochs and values by metric: ``{"val_loss": ((1, 2), (0.9, 0.7))}``.
    """

    number: int
    state: str
    points: Mapping[str, tuple[tuple[int, ...], tuple[float, ...]]]


@dataclass(frozen=True)
class Value:
    """The final or last value of a trial.

    Attributes:
        number: Number of the trial.
        state: One of `hpo.store.studies.trial_states.STATES`.
        values: Value of each objective; of an unfinished trial, the last reported one.
    """

    number: int
    state: str
    values: tuple[float, ...]


def read_curves(db: Database, subject: Subject, numbers: Sequence[int] = ()) -> list[Curve]:
    """Returns the curves of a study's trials, by number.

    Args:
        db: The database.
        subject: The study.
        numbers: Numbers of the trials whose curves must be included; of the others at most
            `MOST_CURVES` are, evenly spaced.

    Raises:
        SpecError: No trial has one of these numbers.
        HpoError: One of them has reported nothing.
    """
    with db.read() as conn:
        query = sa.select(trials.c.number, trials.c.trial_id, name_of(trials.c.state))
        query = query.where(trials.c.study_id == subject.study_id).order_by(trials.c.number)
        rows = [tuple(row) for row in conn.execute(query)]
        missing = sorted(set(numbers) - {number for number, _, _ in rows})
        if missing:
            raise SpecError(f"{subject.name} has no trial {missing[0]}; it has {len(rows)} trials")
        step = max(1, -(-len(rows) // MOST_CURVES))
        kept = [row for i, row in enumerate(rows) if i % step == 0 or row[0] in numbers]
        points = _points(conn, subject, [trial_id for _, trial_id, _ in kept])
    found = [Curve(n, state, points[i]) for n, i, state in kept if i in points]
    silent = sorted(set(numbers) - {curve.number for curve in found})
    if silent:
        raise HpoError(f"trial {silent[0]} of {subject.name} has reported nothing")
    return found


def curve_points(
    conn: Connection, subject: Subject, trial_id: int
) -> Mapping[str, tuple[tuple[int, ...], tuple[float, ...]]]:
    """Returns the points of one trial's `Curve`; empty if it has reported nothing."""
    found: dict[int, Mapping[str, tuple[tuple[int, ...], tuple[float, ...]]]]
    found = _points(conn, subject, [trial_id])
    return found.get(trial_id, {})


def curves_of(db: Database, subject: Subject, numbers: Sequence[int]) -> list[Curve]:
    """Returns the curves of these trials, by number; those that have reported nothing have none."""
    query = sa.select(trials.c.number, trials.c.trial_id, name_of(trials.c.state))
    query = query.where(trials.c.study_id == subject.study_id).order_by(trials.c.number)
    with db.read() as conn:
        rows = [
            tuple(row)
            for some in chunks(sorted(set(numbers)))
            for row in conn.execute(query.where(trials.c.number.in_(some)))
        ]
        points = _points(conn, subject, [trial_id for _, trial_id, _ in rows])
    return [Curve(n, state, points[i]) for n, i, state in rows if i in points]


def read_values(db: Database, subject: Subject) -> list[Value]:
    """Returns the trials of a study that have values, by number.

    Paused and interrupted trials are included; running ones are not.
    """
    table = trial_values.c
    query = (
        sa.select(trials.c.number, name_of(trials.c.state), table.value, table.value_type)
        .join(trials, trials.c.trial_id == table.trial_id)
        .where(trials.c.study_id == subject.study_id)
        .order_by(trials.c.number, table.objective)
    )
    states: dict[int, str] = {}
    found: dict[int, list[float]] = defaultdict(list)
    with db.read() as conn:
        for number, state, value, kind in conn.execute(query):
            states[number] = state
            found[number].append(row_to_value(value, kind))
        ended = [Value(number, states[number], tuple(each)) for number, each in found.items()]
        return sorted([*ended, *_open_values(conn, db, subject)], key=lambda each: each.number)


def has_values(db: Database, subject: Subject) -> bool:
    """Returns whether `read_values` returns any."""
    ended = (
        sa.select(trial_values.c.trial_id)
        .join(trials, trials.c.trial_id == trial_values.c.trial_id)
        .where(trials.c.study_id == subject.study_id)
        .limit(1)
    )
    with db.read() as conn:
        if conn.scalar(ended) is not None:
            return True
        return next(_open_values(conn, db, subject), None) is not None


def _open_values(conn: Connection, db: Database, subject: Subject) -> Iterator[Value]:
    state = shown_state(live_workers(conn, db, subject.study_id))
    query = (
        sa.select(trials.c.trial_id, trials.c.number, state.label("shown"))
        .join(hpo_lease, hpo_lease.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == subject.study_id, state.in_((PAUSED, WAITING)))
    )
    rows = conn.execute(query).all()
    for chunk in chunks(rows):
        last = last_values_of(conn, [trial_id for trial_id, _, _ in chunk])
        for trial_id, number, shown in chunk:
            if trial_id in last:
                yield Value(number, shown, last[trial_id])


def _points(conn: Connection, subject: Subject, ids: Sequence[int]) -> dict[int, Any]:
    """Returns the points of `Curve` by trial_id."""
    found: dict[int, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for trial_id, epoch, metrics in _reports(conn, subject, ids):
        for name, value in metrics.items():
            found[trial_id][name].append((epoch, value))
    return {
        trial_id: {name: tuple(zip(*sorted(pairs), strict=True)) for name, pairs in named.items()}
        for trial_id, named in found.items()
    }


def _reports(
    conn: Connection, subject: Subject, ids: Sequence[int]
) -> Iterator[tuple[int, int, Mapping[str, float]]]:
    """Yields trial_id, epoch and metrics: those of a task, or else Optuna's intermediate values."""
    is_task = subject.spec is not None and subject.spec.declares_epochs
    table = hpo_epoch.c if is_task else trial_intermediate_values.c
    for begin in range(0, len(ids), CHUNK):
        chunk = table.trial_id.in_(ids[begin : begin + CHUNK])
        if is_task:
            query = sa.select(table.trial_id, table.epoch, table.metrics).where(chunk)
            for trial_id, epoch, text in conn.execute(query):
                yield trial_id, epoch, optuna_values.metrics(text)
        else:
            columns = (table.intermediate_value, table.intermediate_value_type)
            steps = sa.select(table.trial_id, table.step, *columns).where(chunk)
            for trial_id, step, value, kind in conn.execute(steps):
                yield trial_id, step, {subject.metrics[0]: row_to_intermediate(value, kind)}
