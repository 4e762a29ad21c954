"""INSERT statements that overwrite, or leave, the row that stands already; each dialect's way."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store import optuna_schema as schema

OPEN_STATES = (TrialState.RUNNING, TrialState.WAITING)
"""States in which a trial may still be written to; the others are final."""


@dataclass(frozen=True)
class Target:
    """A table that hangs on `trials`, and what to do when a row is there already.

    Attributes:
        table: The table.
        keys: Its unique columns.
        updates: Columns that a repeated write overwrites; empty where the first write stands.
    """

    table: sa.Table
    keys: tuple[str, str]
    updates: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column but the surrogate key, in the table's order."""
        return tuple(c.name for c in self.table.columns if not c.primary_key)


def in_states(states: Sequence[TrialState]) -> sa.ColumnElement[bool]:
    """Returns the condition that a row of `trials` is in one of a few states."""
    # Plain comparisons instead of IN, which SQLAlchemy would expand at each execution.
    return sa.or_(*(schema.trials.c.state == state for state in states))


@lru_cache(maxsize=64)
def one_fenced(target: Target, dialect: str) -> sa.Insert:
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
def many(target: Target, dialect: str, *, fenced: bool) -> sa.Insert:
    """Returns the INSERT of many rows.

    On PostgreSQL the rows are given as one JSON text, `rows`, which makes the statement the same
    however many there are, and costs the driver least; elsewhere as a list of rows.

    Args:
        target: Where to.
        dialect: SQLAlchemy's name for the kind of database.
        fenced: Leave out rows of finished and unknown trials; PostgreSQL only.
    """
    if dialect != "postgresql":
        return insert_or_update(target, dialect, None)
    columns = [sa.column(name, target.table.c[name].type) for name in target.columns]
    rows = sa.cast(sa.bindparam("rows", type_=sa.Text), sa.JSON)
    given = sa.func.json_to_recordset(rows).table_valued(*columns)
    given = given.render_derived(name="new", with_types=True)
    source = sa.select(*(given.c[name] for name in target.columns))
    if fenced:
        source = (
            source.join(schema.trials, schema.trials.c.trial_id == given.c.trial_id)
            .where(in_states(OPEN_STATES))
            .with_for_update(read=True, of=schema.trials)
        )
    return insert_or_update(target, dialect, source)


def insert_of(dialect: str) -> Callable[[sa.Table], Any]:
    """Returns a dialect's own INSERT, which knows what to do about rows that are there."""
    # Only the one that is needed: loading all of them takes a tenth of a second.
    name = "mysql" if dialect == "mariadb" else dialect
    make: Callable[[sa.Table], Any] = importlib.import_module(f"sqlalchemy.dialects.{name}").insert
    return make


def insert_or_update(target: Target, dialect: str, source: sa.Select[Any] | None) -> sa.Insert:
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
    # SQLAlchemy otherwise forgets how many rows an INSERT wrote.
    return statement.execution_options(preserve_rowcount=True)


_OF_ALL = ("study_id", "state", "datetime_start", "datetime_complete")

TRIAL_SERIES = sa.insert(schema.trials).from_select(
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
"""The INSERT of `n` equal trials with the numbers from `first` on; PostgreSQL only."""
