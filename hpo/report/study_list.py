"""Study list: the studies of a database."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.study_queries import Subject, read_subjects
from hpo.store.db.database import Database
from hpo.store.db.optuna_tables import ValueType, name_of, row_to_value, trial_values, trials
from hpo.store.rows import unreadable_rows
from hpo.store.rows.unreadable_rows import UNREADABLE
from hpo.store.studies.trial_states import Counts, count_states, live_workers


@dataclass(frozen=True)
class StudyRow:
    """A row of the list of studies.

    Attributes:
        best: The best value of one objective; None for several, or if there is none yet.
        best_state: COMPLETE, or PRUNED if the best trial was stopped early.
        updated_at: Naive UTC by the database's clock.
    """

    subject: Subject
    counts: Counts
    best: float | None
    best_state: str | None
    n_workers: int
    updated_at: datetime.datetime | None


def list_studies(db: Database) -> tuple[list[StudyRow], datetime.datetime]:
    """Returns every study of the database, oldest first, and the database's time now (UTC).

    The number of queries is constant. If a row of one study cannot be read, each study is read
    separately: that one has a fault, the others are complete.
    """
    with db.read() as conn:
        subjects = read_subjects(conn, with_specs=False)
        try:
            return _rows(conn, db, subjects, None), db.now(conn)
        except UNREADABLE:
            rows = [row for subject in subjects for row in _alone(conn, db, subject)]
            return rows, db.now(conn)


def _alone(conn: Connection, db: Database, subject: Subject) -> list[StudyRow]:
    try:
        return _rows(conn, db, [subject], subject.study_id)
    except UNREADABLE as error:
        fault = unreadable_rows.first(db, subject.study_id) or f"{type(error).__name__}: {error}"
        return [StudyRow(replace(subject, fault=fault), Counts(), None, None, 0, None)]


def _rows(
    conn: Connection, db: Database, subjects: Sequence[Subject], study_id: int | None
) -> list[StudyRow]:
    n_workers = Counter(live_workers(conn, db, study_id).values())
    counts = count_states(conn, db, study_id)
    best, updated = _best_values(conn, study_id), _updated(conn, study_id)
    found = {subject.study_id: _best_of(subject, best) for subject in subjects}
    return [
        StudyRow(
            subject=subject,
            counts=counts.get(subject.study_id, Counts()),
            best=found[subject.study_id][0],
            best_state=found[subject.study_id][1],
            n_workers=n_workers[subject.study_id],
            updated_at=updated.get(subject.study_id, subject.created_at),
        )
        for subject in subjects
    ]


def _best_of(
    subject: Subject, best: dict[tuple[int, str, str], float]
) -> tuple[float | None, str | None]:
    """Returns the best value of a study, and the state of its trial; see `best_trial`."""
    if len(subject.directions) == 1:
        for state in ("COMPLETE", "PRUNED") if subject.has_ended else ("COMPLETE",):
            value = best.get((subject.study_id, state, subject.direction))
            if value is not None:
                return value, state
    return None, None


def _best_values(conn: Connection, study_id: int | None) -> dict[tuple[int, str, str], float]:
    """Returns the best value of the first objective by study, state of the trial and direction.

    It takes one pass over the values. An infinity has no number in its row, only a type.
    """
    value = trial_values.c
    query = (
        sa.select(
            trials.c.study_id,
            name_of(trials.c.state),
            value.value_type,
            sa.func.max(value.value),
            sa.func.min(value.value),
        )
        .join(trials, trials.c.trial_id == value.trial_id)
        .where(trials.c.state.in_(("COMPLETE", "PRUNED")), value.objective == 0)
        .group_by(trials.c.study_id, trials.c.state, value.value_type)
    )
    if study_id is not None:
        query = query.where(trials.c.study_id == study_id)
    best: dict[tuple[int, str, str], float] = {}
    for owner, state, kind, highest, lowest in conn.execute(query):
        for direction, choose, found in (("maximize", max, highest), ("minimize", min, lowest)):
            number = row_to_value(None if kind is not ValueType.FINITE else found, kind)
            key = (owner, state, direction)
            best[key] = choose(best.get(key, number), number)
    return best


def _updated(conn: Connection, study_id: int | None) -> dict[int, datetime.datetime]:
    query = sa.select(
        trials.c.study_id,
        sa.func.max(trials.c.datetime_start),
        sa.func.max(trials.c.datetime_complete),
    ).group_by(trials.c.study_id)
    if study_id is not None:
        query = query.where(trials.c.study_id == study_id)
    return {
        owner: max(moment for moment in moments if moment is not None)
        for owner, *moments in conn.execute(query)
        if any(moments)
    }
