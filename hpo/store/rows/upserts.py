"""Upserts: INSERT statements that overwrite, or leave, the rows that exist already."""

from __future__ import annotations

import datetime
import enum
import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db import optuna_tables as schema

OPEN_STATES = (TrialState.RUNNING, TrialState.WAITING)
"""States in which a trial may still be written to; the others are final."""


@dataclass(frozen=True)
class UpsertTarget:
    """A child table of `trials`, and what to do when a row exists already.

    Attributes:
        table: The table.
        keys: Its unique columns.
        updates: Columns that a repeated write overwrites; empty where the first write stays.
    """

    table: sa.Table
    keys: tuple[str, ...]
    updates: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column but the surrogate key, in the table's order."""
        columns = self.table.columns
        return tuple(c.name for c in columns if not c.primary_key or c.autoincrement is False)


def in_states(states: Sequence[TrialState]) -> sa.ColumnElement[bool]:
    """Returns the condition that a row of `trials` is in one of a few states."""
    # Plain comparisons instead of IN, which SQLAlchemy would expand at each execution.
    return sa.or_(*(schema.trials.c.state == state for state in states))


@lru_cache(maxsize=64)
def state_update(state: TrialState, only_from: tuple[TrialState, ...], single: bool) -> sa.Update:
    """Returns the UPDATE of the state of the trials ``trials``, of one or of a list, at ``at``."""
    t = schema.trials.c
    which = (
        t.trial_id == sa.bindparam("trials")
        if single
        else t.trial_id.in_(sa.bindparam("trials", expanding=True))
    )
    statement = sa.update(schema.trials).where(which, in_states(only_from)).values(state=state)
    if state is TrialState.RUNNING:
        return statement.values(datetime_start=sa.bindparam("at"))
    if state.is_finished():
        return statement.values(datetime_complete=sa.bindparam("at"))
    return statement


@lru_cache(maxsize=64)
def one_fenced(target: UpsertTarget, dialect: str) -> sa.Insert:
    """Returns the INSERT of one row, given as `new_<column>`, unless its trial is finished."""
    t = schema.trials.c
    columns = [target.table.c[name] for name in target.columns]
    cells = [sa.bindparam(f"new_{column.name}", type_=column.type) for column in columns]
    source = (
        sa.select(*cells)
        .select_from(schema.trials)
        .where(t.trial_id == sa.bindparam("new_trial_id"), in_states(OPEN_STATES))
        .with_for_update(read=True)
    )
    return insert_or_update(target, dialect, source)


@lru_cache(maxsize=64)
def many(target: UpsertTarget, dialect: str, *, fenced: bool = False) -> sa.Insert:
    """Returns the INSERT of many rows.

    On PostgreSQL each column is given as the text of an array (`array_text`), which makes the
    statement the same however many rows there are, and costs driver and server least; elsewhere
    as a list of rows.

    Args:
        target: Where to.
        dialect: SQLAlchemy's name for the kind of database.
        fenced: Leave out rows of finished and unknown trials; PostgreSQL only.
    """
    source = _given_rows(target, fenced=fenced) if dialect == "postgresql" else None
    return insert_or_update(target, dialect, source)


def _given_rows(target: UpsertTarget, *, fenced: bool) -> sa.Select[Any]:
    columns = [sa.column(name, target.table.c[name].type) for name in target.columns]
    arrays = (
        sa.cast(sa.bindparam(column.name, type_=sa.Text), sa.ARRAY(column.type))
        for column in columns
    )
    given = sa.func.unnest(*arrays).table_valued(*columns).render_derived(name="new")
    source = sa.select(*(given.c[name] for name in target.columns))
    if not fenced:
        return source
    return (
        source.join(schema.trials, schema.trials.c.trial_id == given.c.trial_id)
        .where(in_states(OPEN_STATES))
        .with_for_update(read=True, of=schema.trials)
    )


def array_text(values: Sequence[Any]) -> str:
    """Returns a column's values as PostgreSQL writes an array.

    Args:
        values: Numbers, texts, times, members of an enum, None; of one kind, and None.
    """
    kinds = set(map(type, values))
    written: Iterable[str]
    if kinds == {float}:
        written = map(float.__repr__, values)
    elif kinds == {str}:
        # Most texts of a column are the same: names, distributions.
        quoted = {value: _element(value) for value in set(values)}
        written = map(quoted.__getitem__, values)
    else:
        written = map(_element, values)
    return "{" + ",".join(written) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, datetime.datetime):
        return f'"{value}"'
    # NumPy's numbers are Python's, too, but write themselves in another way.
    return float.__repr__(value) if isinstance(value, float) else int.__repr__(value)


def insert_of(dialect: str) -> Callable[[sa.Table], Any]:
    """Returns a dialect's own INSERT, which has clauses for rows that exist already."""
    # Only the one that is needed: loading all of them takes a tenth of a second.
    name = "mysql" if dialect == "mariadb" else dialect
    make: Callable[[sa.Table], Any] = importlib.import_module(f"sqlalchemy.dialects.{name}").insert
    return make


def insert_or_update(
    target: UpsertTarget, dialect: str, source: sa.Select[Any] | None
) -> sa.Insert:
    """Returns an INSERT of `source` (None: of VALUES) that counts the rows it wrote."""
    if dialect in ("mysql", "mariadb"):
        ours = insert_of(dialect)(target.table)
        if source is not None:
            ours = ours.from_select(target.columns, source, include_defaults=False)
        key = target.keys[0]
        # Not INSERT IGNORE, which would also turn other errors into warnings.
        changes = {name: ours.inserted[name] for name in target.updates}
        return _counted(ours.on_duplicate_key_update(changes or {key: target.table.c[key]}))
    other = insert_of(dialect)(target.table)
    if source is not None:
        other = other.from_select(target.columns, source, include_defaults=False)
    if not target.updates:
        return _counted(other.on_conflict_do_nothing(index_elements=target.keys))
    changes = {name: other.excluded[name] for name in target.updates}
    return _counted(other.on_conflict_do_update(index_elements=target.keys, set_=changes))


def _counted(statement: sa.Insert) -> sa.Insert:
    # Otherwise SQLAlchemy forgets how many rows an INSERT wrote.
    return statement.execution_options(preserve_rowcount=True)


_OF_ALL = ("study_id", "state", "datetime_start", "datetime_complete")

TRIAL_SERIES = (
    sa.insert(schema.trials)
    .from_select(
        ["number", *_OF_ALL],
        sa.select(
            sa.bindparam("first", type_=sa.Integer) + sa.column("i", sa.Integer),
            *(sa.bindparam(name, type_=schema.trials.c[name].type) for name in _OF_ALL),
        ).select_from(
            sa.func.generate_series(0, sa.bindparam("n", type_=sa.Integer) - 1)
            .table_valued("i")
            .render_derived()
        ),
    )
    .returning(schema.trials.c.trial_id, schema.trials.c.number)
)
"""The INSERT of `n` equal trials with the numbers from `first` on; PostgreSQL only."""
