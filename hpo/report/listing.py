"""The list of the studies that a database holds."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.queries import Subject, read_subjects
from hpo.report.states import GRACE_S, Counts, count_states
from hpo.store import roster
from hpo.store.database import Database
from hpo.store.optuna_tables import ValueType, row_to_value, trial_values, trials


@dataclass(frozen=True)
class StudyRow:
    """A line of the list of studies.

    Attributes:
        best: The best value of one objective; None for several, or none yet.
        updated_at: Naive UTC by the database's clock.
    """

    subject: Subject
    counts: Counts
    best: float | None
    n_workers: int
    updated_at: datetime.datetime | None


def list_studies(
    db: Database, grace_s: float = GRACE_S
) -> tuple[list[StudyRow], datetime.datetime]:
    """Returns every study of the database, oldest first, and the database's time now (UTC).

    Seven queries, however many studies and trials there are.
    """
    n_workers = Counter(row.study_id for row in roster.live(db, None, grace_s))
    with db.read() as conn:
        subjects = read_subjects(conn, with_specs=False)
        counts = count_states(conn, db)
        best = _best_values(conn)
        updated = _updated(conn)
        rows = [
            StudyRow(
                subject=subject,
                counts=counts.get(subject.study_id, Counts()),
                best=best.get((subject.study_id, subject.direction))
                if len(subject.directions) == 1
                else None,
                n_workers=n_workers[subject.study_id],
                updated_at=updated.get(subject.study_id, subject.created_at),
            )
            for subject in subjects
        ]
        return rows, db.now(conn)


def _best_values(conn: Connection) -> dict[tuple[int, str], float]:
    """Returns the best value of the first objective by study and direction.

    One pass over the values: an infinity has no number in its row, only a type.
    """
    value = trial_values.c
    query = (
        sa.select(
            trials.c.study_id,
            value.value_type,
            sa.func.max(value.value),
            sa.func.min(value.value),
        )
        .join(trials, trials.c.trial_id == value.trial_id)
        .where(trials.c.state == "COMPLETE", value.objective == 0)
        .group_by(trials.c.study_id, value.value_type)
    )
    best: dict[tuple[int, str], float] = {}
    for study_id, kind, highest, lowest in conn.execute(query):
        for direction, choose, found in (("maximize", max, highest), ("minimize", min, lowest)):
            number = row_to_value(None if kind is not ValueType.FINITE else found, kind)
            key = (study_id, direction)
            best[key] = choose(best.get(key, number), number)
    return best


def _updated(conn: Connection) -> dict[int, datetime.datetime]:
    query = sa.select(
        trials.c.study_id,
        sa.func.max(trials.c.datetime_start),
        sa.func.max(trials.c.datetime_complete),
    ).group_by(trials.c.study_id)
    return {
        study_id: max(moment for moment in moments if moment is not None)
        for study_id, *moments in conn.execute(query)
        if any(moments)
    }
