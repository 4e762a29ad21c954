"""The target of a study: a first objective's value that is good enough to end it."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.store.optuna_tables import ValueType, study_directions, trial_values, trials
from hpo.store.turn import Turn


def finish_if_reached_by(turn: Turn, values: Iterable[float]) -> None:
    """Marks an active study done when one of these values of trials that completed is enough."""
    target = turn.limits.target
    if target is None or turn.state != "active":
        return
    up = _is_maximized(turn)
    if any(value >= target if up else value <= target for value in values):
        turn.finish_study("target")


def finish_if_reached(turn: Turn) -> None:
    """Marks an active study done when any of its COMPLETE trials is good enough.

    It looks at every value of the study: for when the target changes, and for trials that other
    programs have completed.
    """
    target = turn.limits.target
    if target is None or turn.state != "active":
        return
    value, up = trial_values.c, _is_maximized(turn)
    infinite = value.value_type == (ValueType.INF_POS if up else ValueType.INF_NEG)
    good = value.value >= target if up else value.value <= target
    statement = (
        sa.select(value.trial_id)
        .join(trials, trials.c.trial_id == value.trial_id)
        .where(
            trials.c.study_id == turn.study_id,
            trials.c.state == TrialState.COMPLETE,
            value.objective == 0,
            sa.or_(infinite, sa.and_(value.value_type == ValueType.FINITE, good)),
        )
        .limit(1)
    )
    if turn.conn.execute(statement).scalar() is not None:
        turn.finish_study("target")


def _is_maximized(turn: Turn) -> bool:
    direction = study_directions.c
    statement = sa.select(direction.direction).where(
        direction.study_id == turn.study_id, direction.objective == 0
    )
    return turn.conn.execute(statement).scalar() is StudyDirection.MAXIMIZE
