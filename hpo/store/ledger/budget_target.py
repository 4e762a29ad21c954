"""The target of a study: a first objective's value that is good enough to end it."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.db.optuna_tables import (
    IntermediateType,
    ValueType,
    study_directions,
    trial_intermediate_values,
    trial_values,
    trials,
)
from hpo.store.ledger.locked_study import LockedStudy


def current(db: Database, study_id: int) -> float | None:
    """Returns the target of a study that is active, or has ended by it; else None."""
    study = hpo_study.c
    ended_by_it = sa.and_(study.state == "done", study.reason == "target")
    statement = sa.select(study.target).where(
        study.study_id == study_id, sa.or_(study.state == "active", ended_by_it)
    )
    with db.read() as conn:
        return conn.scalar(statement)


def reaches(conn: sa.Connection, study_id: int, target: float, values: Iterable[float]) -> bool:
    """Tells whether one of a study's first values is as good as a target."""
    up = _is_maximized(conn, study_id)
    return any(value >= target if up else value <= target for value in values)


def finish_if_reached_by(locked: LockedStudy, values: Iterable[float]) -> None:
    """Marks an active study done when one of these values is enough."""
    target = locked.limits.target
    if target is None or locked.state != "active":
        return
    if reaches(locked.conn, locked.study_id, target, values):
        locked.finish_study("target")


def finish_if_reached(locked: LockedStudy, *, reported: bool = False) -> None:
    """Marks an active study done when any of its COMPLETE trials is good enough.

    It looks at every value of the study: for when the target changes, and for trials that other
    programs have completed.

    Args:
        locked: The study.
        reported: Look at what trials of any state have reported, too.
    """
    target = locked.limits.target
    if target is None or locked.state != "active":
        return
    up = _is_maximized(locked.conn, locked.study_id)
    found = locked.conn.scalar(_completed(locked.study_id, target, up))
    if found is None and reported:
        found = locked.conn.scalar(_reported(locked.study_id, target, up))
    if found is not None:
        locked.finish_study("target")


def _completed(study_id: int, target: float, up: bool) -> sa.Select[tuple[int]]:
    value = trial_values.c
    infinite = value.value_type == (ValueType.INF_POS if up else ValueType.INF_NEG)
    good = value.value >= target if up else value.value <= target
    return (
        sa.select(value.trial_id)
        .join(trials, trials.c.trial_id == value.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state == TrialState.COMPLETE,
            value.objective == 0,
            sa.or_(infinite, sa.and_(value.value_type == ValueType.FINITE, good)),
        )
        .limit(1)
    )


def _reported(study_id: int, target: float, up: bool) -> sa.Select[tuple[int]]:
    column = trial_intermediate_values.c
    value, kind = column.intermediate_value, column.intermediate_value_type
    infinite = kind == (IntermediateType.INF_POS if up else IntermediateType.INF_NEG)
    good = value >= target if up else value <= target
    return (
        sa.select(column.trial_id)
        .join(trials, trials.c.trial_id == column.trial_id)
        .where(
            trials.c.study_id == study_id,
            sa.or_(infinite, sa.and_(kind == IntermediateType.FINITE, good)),
        )
        .limit(1)
    )


def _is_maximized(conn: sa.Connection, study_id: int) -> bool:
    direction = study_directions.c
    statement = sa.select(direction.direction).where(
        direction.study_id == study_id, direction.objective == 0
    )
    return conn.execute(statement).scalar() is StudyDirection.MAXIMIZE
