"""Trial details, read for many trials at once; each mapping has the trial's id as its key."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report import optuna_values
from hpo.store.db.hpo_tables import hpo_epoch, hpo_event, hpo_lease
from hpo.store.db.optuna_tables import (
    row_to_intermediate,
    row_to_value,
    trial_intermediate_values,
    trial_params,
    trial_user_attributes,
    trial_values,
)

CHUNK = 500
"""Maximum number of ids in one IN list, which all databases accept."""


class Steps(NamedTuple):
    """The steps that a trial has reported: their number, the best and the last."""

    n: int = 0
    best: int | None = None
    last: int | None = None


def values_of(conn: Connection, ids: Sequence[int]) -> dict[int, tuple[float, ...]]:
    """Returns the values of each trial, one per objective; for any number of trials."""
    table = trial_values.c
    found: dict[int, tuple[float, ...]] = {}
    for chunk in chunks(ids):
        query = (
            sa.select(table.trial_id, table.value, table.value_type)
            .where(table.trial_id.in_(chunk))
            .order_by(table.trial_id, table.objective)
        )
        for trial_id, value, kind in conn.execute(query):
            found[trial_id] = (*found.get(trial_id, ()), row_to_value(value, kind))
    return found


def params_of(conn: Connection, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Returns the values of the stored parameters; for at most `CHUNK` trials, as below."""
    table = trial_params.c
    query = (
        sa.select(table.trial_id, table.param_name, table.param_value, table.distribution_json)
        .where(table.trial_id.in_(ids))
        .order_by(table.param_id)
    )
    rows: dict[int, dict[str, tuple[float, str]]] = defaultdict(dict)
    for trial_id, name, value, text in conn.execute(query):
        rows[trial_id][name] = (value, text)
    return {trial_id: optuna_values.params(found) for trial_id, found in rows.items()}


def user_attrs_of(conn: Connection, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Returns the user attributes."""
    table = trial_user_attributes.c
    query = (
        sa.select(table.trial_id, table.key, table.value_json)
        .where(table.trial_id.in_(ids))
        .order_by(table.trial_user_attribute_id)
    )
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, text in conn.execute(query):
        found[trial_id][key] = json.loads(text)
    return found


def steps_of(conn: Connection, ids: Sequence[int], direction: str) -> dict[int, Steps]:
    """Returns the reported steps by trial."""
    table = trial_intermediate_values.c
    query = sa.select(
        table.trial_id, table.step, table.intermediate_value, table.intermediate_value_type
    ).where(table.trial_id.in_(ids))
    sign = -1.0 if direction == "maximize" else 1.0
    reported: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for trial_id, step, value, kind in conn.execute(query):
        reported[trial_id].append((sign * row_to_intermediate(value, kind), step))
    found: dict[int, Steps] = {}
    for trial_id, points in reported.items():
        real = [point for point in points if not math.isnan(point[0])]
        last = max(step for _, step in points)
        found[trial_id] = Steps(len(points), min(real)[1] if real else None, last)
    return found


def last_values_of(conn: Connection, ids: Sequence[int]) -> dict[int, tuple[float, ...]]:
    """Returns the last value that each of these unfinished trials reported, if any."""
    table, lease = trial_intermediate_values.c, hpo_lease.c
    query = (
        sa.select(table.trial_id, table.intermediate_value, table.intermediate_value_type)
        .join(hpo_lease, sa.and_(lease.trial_id == table.trial_id, lease.epoch == table.step))
        .where(table.trial_id.in_(ids))
    )
    rows = conn.execute(query)
    return {trial_id: (row_to_intermediate(value, kind),) for trial_id, value, kind in rows}


def epochs_of(conn: Connection, ids: Sequence[int]) -> dict[int, Steps]:
    """Returns the number of trained epochs by trial; there is no single best one."""
    epoch = hpo_epoch.c
    query = (
        sa.select(epoch.trial_id, sa.func.count())
        .where(epoch.trial_id.in_(ids))
        .group_by(epoch.trial_id)
    )
    return {trial_id: Steps(n) for trial_id, n in conn.execute(query)}


def reasons_of(conn: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Returns the kind of the event that ended each trial, unless that was completion."""
    table = hpo_event.c
    query = (
        sa.select(table.trial_id, table.kind)
        .where(table.trial_id.in_(ids), table.kind != "complete")
        .order_by(table.event_id)
    )
    # The last event is what ended it.
    return {row.trial_id: row.kind for row in conn.execute(query)}


def chunks(items: Sequence[Any]) -> Iterator[list[Any]]:
    """Splits into lists of at most `CHUNK`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
