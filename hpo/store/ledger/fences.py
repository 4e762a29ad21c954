"""Fences: conditions on lease tokens, and statements about many trials at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db.hpo_tables import hpo_lease, hpo_study
from hpo.store.db.optuna_tables import trials

T = TypeVar("T")
S = TypeVar("S", bound=sa.Executable)
Pair = tuple[int, int]

CHUNK = 64
"""Rows of one statement: few enough for every database's limit on its parameters."""


class Fenced(NamedTuple):
    """A lease that its owner still has, locked until the transaction ends."""

    trial_id: int
    token: int
    study_id: int
    worker_id: int | None
    attempt: int
    epoch: int
    target: float | None
    """Of its study while that is active. Read along, so that a report need not ask for it."""


def fence(pairs: Sequence[Pair]) -> sa.ColumnElement[bool]:
    """Returns the condition on ``hpo_lease`` that one of these (trial_id, token) is in force."""
    return sa.tuple_(hpo_lease.c.trial_id, hpo_lease.c.token).in_(sorted(pairs))


def lock_fenced(
    conn: sa.Connection, pairs: Collection[Pair], study_id: int | None = None
) -> dict[int, Fenced]:
    """Locks those of the leases that are in force and whose trial is RUNNING, by trial_id.

    They are locked in the order of their ids, so that two transactions cannot deadlock.
    """
    found: dict[int, Fenced] = {}
    for part in chunks(sorted({trial_id for trial_id, _ in pairs})):
        for row in conn.execute(*with_ids(_lock_leases, part)):
            lease = Fenced._make(row)
            is_of_study = study_id is None or lease.study_id == study_id
            if is_of_study and (lease.trial_id, lease.token) in pairs:
                found[lease.trial_id] = lease
    return found


def by_trial(column: sa.Column[Any], values: Mapping[int, Any]) -> sa.ColumnElement[Any]:
    """Returns the value for each trial of ``hpo_lease``; the column itself for other trials."""
    if not values:
        return column
    typed = {trial_id: sa.literal(value, column.type) for trial_id, value in values.items()}
    return sa.case(typed, value=hpo_lease.c.trial_id, else_=column)


def one_of(column: sa.Column[Any], n: int) -> sa.ColumnElement[bool]:
    """Returns the condition that a column has one of ``n`` ids, given by `with_ids`."""
    return column.in_([sa.bindparam(f"id_{i}", type_=sa.Integer) for i in range(n)])


def with_ids(
    build: Callable[[int], S], ids: Sequence[int], **values: Any
) -> tuple[S, dict[str, Any]]:
    """Returns a statement about some ids, and the values of its parameters.

    Args:
        build: Makes the statement for a number of ids, and caches it. Only powers of two are asked
            for: the last id is repeated to fill up.
        ids: At most `CHUNK`.
        values: Of its other parameters.
    """
    size = 1 << (len(ids) - 1).bit_length()
    named = {f"id_{i}": ids[min(i, len(ids) - 1)] for i in range(size)}
    return build(size), {**named, **values}


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cuts a sequence into pieces of at most `CHUNK`."""
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def ids(items: Iterable[Any]) -> list[int]:
    """Returns the ``trial_id`` of each, ascending."""
    return sorted(item.trial_id for item in items)


# A subquery, so that the study's row is not locked.
_TARGET = (
    sa.select(hpo_study.c.target)
    .where(hpo_study.c.study_id == hpo_lease.c.study_id, hpo_study.c.state == "active")
    .scalar_subquery()
)


@lru_cache(maxsize=8)
def _lock_leases(n: int) -> sa.Select[Any]:
    return (
        sa.select(*(hpo_lease.c[name] for name in Fenced._fields[:-1]), _TARGET)
        .join(trials, trials.c.trial_id == hpo_lease.c.trial_id)
        .where(one_of(hpo_lease.c.trial_id, n), trials.c.state == TrialState.RUNNING)
        .order_by(hpo_lease.c.trial_id)
        .with_for_update()
    )
