"""Trial reader: trials from Optuna's tables, in few statements."""

from __future__ import annotations

import datetime
import gc
import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from hpo.store.db import optuna_tables as schema
from hpo.store.rows import trial_queries
from hpo.store.rows.stored_trial import StoredTrial

CHUNK = 500
"""Most trials of one statement: it bounds the number of parameters and the size of the result."""
_IN_LISTS = ("mysql",)
"""Databases whose driver is plain Python, and slow for each row."""


@contextmanager
def without_collector() -> Iterator[None]:
    """Pauses Python's garbage collector while many objects are created that all stay.

    It would scan everything that was read before again and again, for half of the time of a large
    read. If threads overlap here, it is switched on again too early at worst.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Head(NamedTuple):
    """A row of `trials`; times are naive UTC. Two equal heads of finished trials are one trial."""

    trial_id: int
    number: int
    state: TrialState
    datetime_start: datetime.datetime | None
    datetime_complete: datetime.datetime | None


class TrialRows:
    """The rows of the child tables of one trial."""

    __slots__ = ("intermediate", "params", "system_attrs", "user_attrs", "values")

    def __init__(self) -> None:
        self.params: list[tuple[int, str, float, str]] = []
        self.values: list[tuple[int, float]] = []
        self.intermediate: dict[int, float] = {}
        self.user_attrs: dict[str, Any] = {}
        self.system_attrs: dict[str, Any] = {}


def read_heads(
    connection: sa.Connection, study_id: int, floor: int, also: Collection[int]
) -> list[Head]:
    """Returns the study's trials from id `floor` on and those in `also`, ascending by id."""
    t = schema.trials.c
    if len(also) > CHUNK:
        # Too many for a list of parameters: read everything from the oldest of them on.
        floor, also = min(floor, *also), ()
    statement = trial_queries.HEADS.where(t.study_id == study_id)
    if also:
        statement = statement.where(sa.or_(t.trial_id >= floor, t.trial_id.in_(also)))
    else:
        statement = statement.where(t.trial_id >= floor)
    return [Head(*row) for row in connection.execute(statement)]


def read_head(connection: sa.Connection, trial_id: int) -> Head | None:
    """Returns one trial's row, or None where there is no such trial."""
    row = connection.execute(trial_queries.HEAD, {"trial": trial_id}).one_or_none()
    return None if row is None else Head(*row)


def read_param(connection: sa.Connection, trial_id: int, name: str) -> float | None:
    """Returns a parameter in Optuna's internal representation, or None where it is not set."""
    row = connection.execute(
        trial_queries.ONE_PARAM, {"trial": trial_id, "name": name}
    ).one_or_none()
    return None if row is None else float(row[0])


def read_trials(
    connection: sa.Connection, heads: Sequence[Head], *, intermediate: bool = True
) -> Iterator[FrozenTrial]:
    """Yields the trials of `heads` in their order: one statement for each `CHUNK` of them.

    Args:
        connection: In a transaction.
        heads: Just read from the same database.
        intermediate: False leaves the intermediate values empty, for the caller to defer.
    """
    for chunk in _chunks(heads):
        found = _read_rows(connection, [head.trial_id for head in chunk], intermediate)
        for head in chunk:
            yield _build(head, found[head.trial_id])


def read_intermediate(
    connection: sa.Connection, trial_ids: Collection[int]
) -> dict[int, dict[int, float]]:
    """Returns step -> intermediate value for each trial, `CHUNK` of them in one statement."""
    result: dict[int, dict[int, float]] = {trial_id: {} for trial_id in trial_ids}
    for chunk in _chunks(trial_ids):
        result |= _read_steps(connection, chunk)
    return {trial_id: _by_step(values) for trial_id, values in result.items()}


def _read_rows(
    connection: sa.Connection, trial_ids: Sequence[int], intermediate: bool
) -> defaultdict[int, TrialRows]:
    ids = {"ids": trial_ids}
    # All at once: a chunk fits into memory, and row by row takes twice the time.
    if connection.dialect.name in _IN_LISTS:
        with suppress(json.JSONDecodeError):  # The server cut a list that was too long for it.
            statement = trial_queries.rows(intermediate=intermediate, in_lists=True)
            return _collect(connection.execute(statement, ids).all())
    statement = trial_queries.rows(intermediate=intermediate, in_lists=False)
    return _collect(connection.execute(statement, ids).all())


def _read_steps(connection: sa.Connection, trial_ids: Sequence[int]) -> dict[int, dict[int, float]]:
    ids = {"ids": trial_ids}
    if connection.dialect.name in _IN_LISTS:
        with suppress(json.JSONDecodeError):  # As above.
            lists = _collect(connection.execute(trial_queries.STEP_LISTS, ids).all())
            return {trial_id: rows.intermediate for trial_id, rows in lists.items()}
    found: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for trial_id, step, number, text in connection.execute(trial_queries.STEPS, ids).all():
        found[trial_id][step] = number if text is None else _special(text)
    return found


def _by_step(values: dict[int, float]) -> dict[int, float]:
    # A server returns rows in any order; curves are read from left to right.
    return dict(sorted(values.items()))


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    source = iter(items)
    while chunk := list(islice(source, CHUNK)):
        yield chunk


def _collect(rows: Iterable[Any]) -> defaultdict[int, TrialRows]:
    """Groups the rows of `trial_queries.rows` by trial."""
    found: defaultdict[int, TrialRows] = defaultdict(TrialRows)
    for kind, trial_id, index, name, number, text in rows:
        trial = found[trial_id]
        if kind == trial_queries.INTERMEDIATE:
            value = number if text is None else _special(text)
            trial.intermediate[index] = value
        elif kind == trial_queries.PARAM:
            trial.params.append((index, name, number, text))
        elif kind == trial_queries.VALUE:
            trial.values.append((index, number if text is None else _special(text)))
        elif kind == trial_queries.PARAM_LIST:
            trial.params += map(tuple, json.loads(f"[{text}]"))
        elif kind == trial_queries.STEP_LIST:
            for step, stored, special in json.loads(f"[{text}]"):
                trial.intermediate[step] = _special(special) if special else float(stored)
        elif kind == trial_queries.USER_ATTR:
            trial.user_attrs[name] = json.loads(text)
        else:
            trial.system_attrs[name] = json.loads(text)
    return found


def _special(kind: str) -> float:
    return schema.row_to_intermediate(None, schema.IntermediateType.__members__[kind])


def _build(head: Head, rows: TrialRows) -> FrozenTrial:
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for _, name, value, text in sorted(rows.params):
        distribution = parse_distribution(text)
        name = sys.intern(name)
        distributions[name] = distribution
        params[name] = distribution.to_external_repr(value)
    return StoredTrial(
        number=head.number,
        state=head.state,
        value=None,
        values=[value for _, value in sorted(rows.values)] or None,
        datetime_start=schema.utc_to_local(head.datetime_start),
        datetime_complete=schema.utc_to_local(head.datetime_complete),
        params=params,
        distributions=distributions,
        user_attrs=rows.user_attrs,
        system_attrs=rows.system_attrs,
        intermediate_values=_by_step(rows.intermediate),
        trial_id=head.trial_id,
    )


@lru_cache(maxsize=4096)
def parse_distribution(text: str) -> BaseDistribution:
    """Returns the distribution for its JSON; trials share one object, which is never changed."""
    return json_to_distribution(text)
