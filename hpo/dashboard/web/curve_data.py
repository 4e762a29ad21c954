"""Curve data: the learning curves that the page of a study draws, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from hpo.report.learning_curves import Curve, curves_of
from hpo.report.study_queries import Subject
from hpo.report.trial_pages import Page, list_trials
from hpo.store.db.database import Database
from hpo.store.db.optuna_tables import trials
from hpo.store.studies.trial_states import FINISHED

_BEST: Final = 12
_OPEN: Final = 32
_NEWEST: Final = 24
_MOST_POINTS: Final = 400
"""Maximum number of points of one curve; of longer ones, evenly spaced points are sent."""


def curve_data(db: Database, subject: Subject) -> dict[str, Any]:
    """Returns the curves of the best, the open and the newest trials of a study.

    With several objectives there is no best trial.
    """
    best = list_trials(db, subject, Page("best", limit=_BEST)) if subject.directions else []
    numbers = [trial.number for trial in best] + _recent(db, subject)
    curves = curves_of(db, subject, numbers)
    leader = best[0].number if best and best[0].value is not None else None
    return {
        "metric": subject.metrics[0],
        "best": leader if len(subject.directions) == 1 else None,
        "curves": [_record(curve) for curve in curves],
    }


def one_curve(db: Database, subject: Subject, number: int) -> dict[str, Any]:
    """Returns the curves of one trial."""
    curves = [_record(curve) for curve in curves_of(db, subject, [number])]
    return {"metric": subject.metrics[0], "best": number, "curves": curves}


def _recent(db: Database, subject: Subject) -> list[int]:
    number = trials.c.number
    query = sa.select(number).where(trials.c.study_id == subject.study_id).order_by(number.desc())
    with db.read() as conn:
        opened = conn.scalars(query.where(trials.c.state.not_in(FINISHED)).limit(_OPEN)).all()
        return [*opened, *conn.scalars(query.limit(_NEWEST))]


def _record(curve: Curve) -> dict[str, Any]:
    shown = {
        name: _thinned(points)
        for name, points in curve.points.items()
        if not name.startswith("test_")
    }
    return {"number": curve.number, "state": curve.state, "points": shown}


def _thinned(points: tuple[tuple[int, ...], tuple[float, ...]]) -> Mapping[str, Any]:
    epochs, values = points
    step = -(-len(epochs) // _MOST_POINTS)
    kept = sorted({*range(0, len(epochs), step), len(epochs) - 1})
    # JSON has no NaN and no infinity; a gap is drawn there.
    return {
        "x": [epochs[i] for i in kept],
        "y": [values[i] if math.isfinite(values[i]) else None for i in kept],
    }
