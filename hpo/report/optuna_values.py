"""SQL expressions for Optuna's values, and their conversion to Python."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hpo.store.db.optuna_tables import (
    IntermediateType,
    ValueType,
    trial_intermediate_values,
    trial_values,
    trials,
)

if TYPE_CHECKING:
    from hpo.report.study_queries import Subject


def best_first(direction: str) -> tuple[sa.ColumnElement[Any], ...]:
    """Returns the ORDER BY that puts the best of `trial_values` first and missing values last.

    Infinite values are stored as NULL with a type, so the value alone does not order them.
    """
    return _ranked(trial_values.c.value, trial_values.c.value_type, ValueType, direction)


def best_step_first(direction: str) -> tuple[sa.ColumnElement[Any], ...]:
    """Returns the ORDER BY that puts the best of `trial_intermediate_values` first."""
    table = trial_intermediate_values.c
    value, kind = table.intermediate_value, table.intermediate_value_type
    return (*_ranked(value, kind, IntermediateType, direction), table.step)


def _ranked(
    value: sa.ColumnElement[Any], kind: sa.ColumnElement[Any], kinds: Any, direction: str
) -> tuple[sa.ColumnElement[Any], ...]:
    upward = direction == "maximize"
    best, worst = (kinds.INF_POS, kinds.INF_NEG) if upward else (kinds.INF_NEG, kinds.INF_POS)
    rank = sa.case((kind == best, 0), (kind == kinds.FINITE, 1), (kind == worst, 2), else_=3)
    return (rank, value.desc() if upward else value.asc())


def duration_s(dialect: str) -> sa.ColumnElement[Any]:
    """Returns the seconds that a trial took, in the SQL of the database."""
    start, end = trials.c.datetime_start, trials.c.datetime_complete
    if dialect == "sqlite":
        return (sa.func.julianday(end) - sa.func.julianday(start)) * 86_400.0
    if dialect == "postgresql":
        return sa.extract("epoch", end - start)
    return sa.func.timestampdiff(sa.text("MICROSECOND"), start, end) / 1e6


def seconds_between(start: datetime.datetime | None, end: datetime.datetime | None) -> float | None:
    """Returns the seconds from ``start`` to ``end``, or None if one of them is missing."""
    return None if start is None or end is None else (end - start).total_seconds()


def params(rows: Mapping[str, tuple[float, str]]) -> dict[str, Any]:
    """Turns rows of `trial_params`, name -> (value, distribution), into parameter values."""
    return {name: _external_of(text)(value) for name, (value, text) in rows.items()}


@lru_cache(maxsize=4096)
def _external_of(text: str) -> Callable[[float], Any]:
    """Returns the function that turns a stored number into a value, as Optuna's distribution does.

    Loading Optuna for this would take most of the time of the commands that read.
    """
    described = json.loads(text)
    kind: str = described["name"]
    if kind.startswith("Categorical"):
        choices = described["attributes"]["choices"]
        return lambda value: choices[int(value)]
    return int if kind.startswith("Int") else float


def metrics(text: str) -> dict[str, float]:
    """Reads the metrics of a row of `hpo_epoch`; a null there is a NaN."""
    return {k: math.nan if v is None else float(v) for k, v in json.loads(text).items()}


def best_epoch(subject: Subject, attrs: Mapping[str, Any] | None) -> int | None:
    """Returns the best epoch that a complete trial of a task recorded, or None.

    Among epochs with equal values only the trial knows whose weights it has kept.
    """
    return (attrs or {}).get("best_epoch") if is_of_task(subject) else None


def is_of_task(subject: Subject) -> bool:
    """Returns whether the value of a complete trial is that of its best epoch."""
    is_task = subject.spec is not None and subject.spec.declares_epochs
    return is_task and len(subject.directions) == 1
