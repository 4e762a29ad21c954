"""Statements that the ledger's parts share: fences, and rows written many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.optuna_tables import trials
from hpo.store.tables import hpo_lease, hpo_study
from hpo.store.upserts import insert_of

T = TypeVar("T")
Pair = tuple[int, int]

CHUNK = 64
"""Rows of one statement: few enough for every database's limit on its parameters."""


class Fenced(NamedTuple):
    """A lease that its owner still has, locked until the transaction ends."""

    trial_id: int
    study_id: int
    worker_id: int | None
    attempt: int
    epoch: int
    target: float | None
    """Of its study while that is active: read on the way, so that a report need not ask for it."""


def fence(pairs: Sequence[Pair]) -> sa.ColumnElement[bool]:
    """Returns the condition on ``hpo_lease`` that one of these (trial_id, token) is in force."""
    return sa.tuple_(hpo_lease.c.trial_id, hpo_lease.c.token).in_(sorted(pairs))


def lock_fenced(
    conn: sa.Connection, pairs: Sequence[Pair], study_id: int | None = None
) -> dict[int, Fenced]:
    """Locks those of the leases that are in force and whose trial is RUNNING, by trial_id.

    They are locked in the order of their ids, so that two who lock several cannot deadlock.
    """
    lease, study = hpo_lease.c, hpo_study.c
    # In a subquery, whose row is not locked.
    target = (
        sa.select(study.target)
        .where(study.study_id == lease.study_id, study.state == "active")
        .scalar_subquery()
        .label("target")
    )
    found: dict[int, Fenced] = {}
    for part in chunks(sorted(pairs)):
        statement = (
            sa.select(
                lease.trial_id,
                lease.study_id,
                lease.worker_id,
                lease.attempt,
                lease.epoch,
                target,
            )
            .join(trials, trials.c.trial_id == lease.trial_id)
            .where(fence(part), trials.c.state == TrialState.RUNNING)
            .order_by(lease.trial_id)
            .with_for_update()
        )
        if study_id is not None:
            statement = statement.where(lease.study_id == study_id)
        found |= {row.trial_id: Fenced(*row) for row in conn.execute(statement)}
    return found


def by_trial(column: sa.Column[Any], values: Mapping[int, Any]) -> sa.ColumnElement[Any]:
    """Returns the value for each trial of ``hpo_lease``; the column itself for other trials."""
    if not values:
        return column
    typed = {trial_id: sa.literal(value, column.type) for trial_id, value in values.items()}
    return sa.case(typed, value=hpo_lease.c.trial_id, else_=column)


def insert_fenced(
    conn: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    keys: tuple[str, ...],
    of_lease: tuple[str, ...] = (),
) -> None:
    """Inserts rows whose lease is in force, in one statement for up to `CHUNK` rows.

    A row whose key is there already is left as it is: what was reported first stays.

    Args:
        conn: In a writing transaction.
        table: Where to.
        rows: Each with ``trial_id``, ``token`` and the other columns.
        keys: The table's unique columns.
        of_lease: Columns whose value is the lease's own.
    """
    for part in chunks(rows):
        columns = tuple(name for name in part[0] if name != "token")
        # A few sizes serve all, for making a statement takes longer than running it. What fills
        # one up has no token: no lease is its.
        size = 1 << (len(part) - 1).bit_length()
        filled = [*part, *[{**part[0], "token": None}] * (size - len(part))]
        statement = _fenced_insert(table, columns, keys, of_lease, (conn.dialect.name, size))
        values = {f"{name}_{i}": row[name] for i, row in enumerate(filled) for name in row}
        conn.execute(statement, values)


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cuts a sequence into pieces of at most `CHUNK`."""
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def ids(items: Iterable[Any]) -> list[int]:
    """Returns the ``trial_id`` of each, ascending."""
    return sorted(item.trial_id for item in items)


@lru_cache(maxsize=512)
def _fenced_insert(
    table: sa.Table,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    of_lease: tuple[str, ...],
    shape: tuple[str, int],
) -> sa.Insert:
    dialect, n_rows = shape
    types = {name: table.c[name].type for name in columns} | {"token": hpo_lease.c.token.type}
    given = sa.union_all(
        *(
            sa.select(*(_bind(f"{n}_{i}", t, dialect).label(n) for n, t in types.items()))
            for i in range(n_rows)
        )
    ).subquery("given")
    source = sa.select(
        *(given.c[name] for name in columns), *(hpo_lease.c[name] for name in of_lease)
    ).where(hpo_lease.c.trial_id == given.c.trial_id, hpo_lease.c.token == given.c.token)
    names = [*columns, *of_lease]
    insert = insert_of(dialect)(table).from_select(names, source)
    if dialect == "mysql":
        # Not INSERT IGNORE, which would turn other errors into warnings, too.
        kept = {keys[0]: table.c[keys[0]]}
        insert = insert.on_duplicate_key_update(kept)
    else:
        insert = insert.on_conflict_do_nothing(index_elements=keys)
    assert isinstance(insert, sa.Insert)
    return insert


def _bind(name: str, kind: sa.types.TypeEngine[Any], dialect: str) -> sa.ColumnElement[Any]:
    # PostgreSQL takes what it finds in a subquery for text, unless it is told.
    bound = sa.bindparam(name, type_=kind)
    return sa.cast(bound, kind) if dialect == "postgresql" else bound
