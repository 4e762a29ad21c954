"""Copy rows: the rows of one study, read from one database in a form that another can take.

Ids are a database's own. Both databases agree on a trial's number within its study, and on a
worker's position among the study's workers. So every row is read as a plain tuple without its own
key, with these in place of ids: such tuples are compared as they are, and written with the ids
that the other database gave. Rows are in the order of their keys, which is the order in which
Optuna returns params and attributes.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from hpo.store.db import hpo_tables
from hpo.store.db import optuna_tables as schema
from hpo.store.ledger.locked_study import UNOWNED_TOKEN

MARKER = "hpo:copying"
"""System attribute of a study that is a copy not yet complete."""

MAX_TRIALS = 250
"""Trials of a batch, whose ids are parameters of one statement."""
MAX_ROWS = 20_000
"""A batch has at most so many trials, and about so many rows, unless one trial has more: some
megabytes, and a transaction of about a second."""

Row: TypeAlias = tuple[Any, ...]
Numbers: TypeAlias = Mapping[int, int]
"""trial_id -> number, or the other way round."""

_IDS = ("study_id", "trial_id", "worker_id")


class Side(NamedTuple):
    """A study in one of the databases.

    Attributes:
        conn: In a transaction with one snapshot.
        study_id: Its id there.
        has_ours: Whether the database has the tables of hpo beside Optuna's.
    """

    conn: sa.Connection
    study_id: int
    has_ours: bool


@dataclass(frozen=True)
class Kind:
    """A table, and the columns that are copied.

    Attributes:
        table: The table.
        columns: Columns that are read, beside the ids.
        fixed: Values that are written instead of those of the source, beside the ids.
    """

    table: sa.Table
    columns: tuple[sa.ColumnElement[Any], ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The table's name."""
        return str(self.table.name)

    @property
    def keys(self) -> tuple[sa.Column[Any], ...]:
        """The primary key's columns."""
        return tuple(self.table.primary_key.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(str(column.key) for column in self.columns)


def _kind(table: sa.Table, **fixed: Any) -> Kind:
    own = {column for column in table.primary_key.columns if column.autoincrement is not False}
    surrogate = own if len(table.primary_key.columns) == 1 else set()
    kept = (c for c in table.columns if c not in surrogate and c.name not in (*_IDS, *fixed))
    return Kind(table, tuple(kept), fixed)


HEADS = _kind(schema.trials)
OF_TRIAL = (
    _kind(schema.trial_params),
    _kind(schema.trial_values),
    _kind(schema.trial_intermediate_values),
    _kind(schema.trial_user_attributes),
    _kind(schema.trial_system_attributes),
    _kind(schema.trial_heartbeats),
    # In the copy no trial has an owner: any worker may continue it.
    _kind(hpo_tables.hpo_lease, token=UNOWNED_TOKEN),
    _kind(hpo_tables.hpo_epoch),
)
OF_STUDY = (
    _kind(schema.study_directions),
    _kind(schema.study_user_attributes),
    _kind(schema.study_system_attributes),
)
WORKERS = _kind(hpo_tables.hpo_worker)
EVENTS = _kind(hpo_tables.hpo_event)
SUGGESTIONS = _kind(hpo_tables.hpo_suggestion)
STUDY = _kind(hpo_tables.hpo_study)
NOT_COPIED = frozenset({"studies", "version_info", "hpo_stack", "hpo_last_id"})
"""Tables without a row of a study, but for its name."""


def is_ours(kind: Kind) -> bool:
    """Returns whether a table is one of hpo's, which a database of plain Optuna does not have."""
    return kind.name in hpo_tables.metadata.tables


def batches(side: Side) -> Iterator[dict[int, int]]:
    """Yields the study's trials as trial_id -> number, ascending by number, a batch at a time."""
    batch: dict[int, int] = {}
    n_rows = 0
    weights = _weights(side)
    t = schema.trials.c
    query = sa.select(t.trial_id, t.number).where(t.study_id == side.study_id)
    for trial_id, number in side.conn.execute(query.order_by(t.number, t.trial_id)).all():
        weight = weights.get(trial_id, 0)
        if batch and (len(batch) >= MAX_TRIALS or n_rows + weight > MAX_ROWS):
            yield batch
            batch, n_rows = {}, 0
        batch[trial_id] = number
        n_rows += weight
    if batch:
        yield batch


def _weights(side: Side) -> dict[int, int]:
    """Returns how many reports each trial has: only of these a trial may have many."""
    found: dict[int, int] = {}
    for kind in OF_TRIAL:
        if kind.name in ("trial_intermediate_values", "hpo_epoch"):
            if is_ours(kind) and not side.has_ours:
                continue
            trial_id = kind.table.c.trial_id
            query = (
                sa.select(trial_id, sa.func.count())
                .join(schema.trials, schema.trials.c.trial_id == trial_id)
                .where(schema.trials.c.study_id == side.study_id)
                .group_by(trial_id)
            )
            for owner, n in side.conn.execute(query):
                found[owner] = found.get(owner, 0) + n
    return found


def heads(side: Side, numbers: Numbers) -> list[Row]:
    """Returns the rows of `trials` of a batch: its number first."""
    return _tidy(HEADS, _of_trials(side, HEADS, numbers))


def of_trials(side: Side, kind: Kind, numbers: Numbers) -> list[Row]:
    """Returns child rows of the trials of a batch, each with the trial's number first."""
    if is_ours(kind) and not side.has_ours:
        return []
    return _tidy(kind, _of_trials(side, kind, numbers))


def _of_trials(side: Side, kind: Kind, numbers: Numbers) -> list[Row]:
    trial_id = kind.table.c.trial_id
    query = (
        sa.select(trial_id, *kind.columns)
        .where(trial_id.in_(list(numbers)))
        .order_by(trial_id, *kind.keys)
    )
    rows = [(numbers[row[0]], *row[1:]) for row in side.conn.execute(query).all()]
    # Ids may have another order than numbers; the rows of one trial keep their order.
    return sorted(rows, key=_first)


def of_study(side: Side, kind: Kind) -> list[Row]:
    """Returns the rows of one of `OF_STUDY`, without the mark of a copy."""
    if is_ours(kind) and not side.has_ours:
        return []
    table = kind.table
    query = sa.select(*kind.columns).where(table.c.study_id == side.study_id)
    if table is schema.study_system_attributes:
        query = query.where(table.c.key != MARKER)
    return _tidy(kind, side.conn.execute(query.order_by(*kind.keys)).all())


def workers(side: Side) -> list[Row]:
    """Returns the workers, all of them ended: in the copy they are history."""
    names = WORKERS.names
    ended, heard = names.index("ended_at"), names.index("heartbeat_at")
    return [
        row if row[ended] is not None else (*row[:ended], row[heard], *row[ended + 1 :])
        for row in of_study(side, WORKERS)
    ]


def worker_ids(side: Side) -> list[int]:
    """Returns the ids of the study's workers; a worker's position is its index here."""
    if not side.has_ours:
        return []
    w = hpo_tables.hpo_worker.c
    query = sa.select(w.worker_id).where(w.study_id == side.study_id).order_by(w.worker_id)
    return list(side.conn.scalars(query))


def events(side: Side) -> Iterator[list[Row]]:
    """Yields the events in pieces, each with its trial's number and its worker's position first."""
    positions = {worker_id: position for position, worker_id in enumerate(worker_ids(side))}
    e, last = EVENTS.table.c, 0
    query = (
        sa.select(e.event_id, schema.trials.c.number, e.worker_id, *EVENTS.columns)
        .outerjoin(schema.trials, schema.trials.c.trial_id == e.trial_id)
        .where(e.study_id == side.study_id, e.event_id > sa.bindparam("last"))
        .order_by(e.event_id)
        .limit(MAX_ROWS // 4)
    )
    while side.has_ours:
        found = side.conn.execute(query, {"last": last}).all()
        if not found:
            return
        last = found[-1][0]
        yield [(row[1], positions.get(row[2]), *row[3:]) for row in found]


def suggestions(side: Side) -> Iterator[list[Row]]:
    """Yields the decision log in pieces, each record with its worker's position first."""
    positions = {worker_id: position for position, worker_id in enumerate(worker_ids(side))}
    s, last = SUGGESTIONS.table.c, 0
    query = (
        sa.select(s.suggestion_id, s.worker_id, *SUGGESTIONS.columns)
        .where(s.study_id == side.study_id, s.suggestion_id > sa.bindparam("last"))
        .order_by(s.suggestion_id)
        .limit(MAX_ROWS // 20)
    )
    while side.has_ours:
        found = side.conn.execute(query, {"last": last}).all()
        if not found:
            return
        last = found[-1][0]
        yield [(positions.get(row[1]), *row[2:]) for row in found]


def insert(
    conn: sa.Connection, kind: Kind, rows: Iterable[Row], ids: Iterable[Mapping[str, Any]]
) -> None:
    """Writes rows without their leading numbers.

    Args:
        conn: In a writing transaction.
        kind: The table.
        rows: Each ends with the columns of `kind`.
        ids: The ids of each row in this database.
    """
    names, n = kind.names, len(kind.names)
    values = [
        {**dict(zip(names, row[len(row) - n :], strict=True)), **kind.fixed, **own}
        for row, own in zip(rows, ids, strict=True)
    ]
    if values:
        conn.execute(sa.insert(kind.table), values)


def _tidy(kind: Kind, rows: Sequence[Any]) -> list[Row]:
    """Rounds values that not every database can hold."""
    if kind.table is schema.trial_heartbeats:
        # MySQL keeps them to the second.
        return [tuple(_whole_seconds(value) for value in row) for row in rows]
    if any(isinstance(column.type, sa.Float) for column in kind.columns):
        # SQLite has no negative zero.
        return [tuple(v + 0.0 if type(v) is float else v for v in row) for row in rows]
    return [tuple(row) for row in rows]


def _whole_seconds(value: Any) -> Any:
    return value.replace(microsecond=0) if isinstance(value, datetime.datetime) else value


def _first(row: Row) -> Any:
    return row[0]
