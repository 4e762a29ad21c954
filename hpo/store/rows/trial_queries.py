"""Trial queries: the SELECT statements of `trial_reader` and `trial_rows`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from hpo.store.db import optuna_tables as schema

_S = schema.trial_intermediate_values.c
_HEAD = [
    schema.trials.c[name]
    for name in ("trial_id", "number", "state", "datetime_start", "datetime_complete")
]
PARAM, INTERMEDIATE, VALUE, USER_ATTR, SYSTEM_ATTR, PARAM_LIST, STEP_LIST = range(7)
"""The kinds of rows that `rows` returns."""


@lru_cache(maxsize=4)
def rows(*, intermediate: bool, in_lists: bool) -> sa.CompoundSelect[Any]:
    """Returns the SELECT of the child rows of trials: kind, trial_id, index, name, number, text.

    Args:
        intermediate: With the intermediate values.
        in_lists: With all params of a trial in one row as JSON, and all intermediate values in
            another; for drivers that are slow for each row.
    """
    p, v = schema.trial_params.c, schema.trial_values.c
    plain = (p.param_id, p.param_name, p.param_value, p.distribution_json)
    parts = [
        _list(PARAM_LIST, p.trial_id, *plain) if in_lists else _part(PARAM, p.trial_id, *plain),
        _part(VALUE, v.trial_id, v.objective, None, v.value, _unless_finite(v.value_type)),
    ]
    for kind, table in (
        (USER_ATTR, schema.trial_user_attributes.c),
        (SYSTEM_ATTR, schema.trial_system_attributes.c),
    ):
        parts.append(_part(kind, table.trial_id, None, table.key, None, table.value_json))
    if intermediate:
        parts.append(STEP_LISTS if in_lists else _steps())
    return sa.union_all(*parts)


def _steps() -> sa.Select[Any]:
    text = _unless_finite(_S.intermediate_value_type)
    return _part(INTERMEDIATE, _S.trial_id, _S.step, None, _S.intermediate_value, text)


def _list(
    kind: int, trial_id: sa.ColumnElement[int], *columns: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    items = sa.func.group_concat(sa.func.json_array(*columns))
    return _part(kind, trial_id, None, None, None, items).group_by(trial_id)


def _part(
    kind: int,
    trial_id: sa.ColumnElement[int],
    index: sa.ColumnElement[int] | None,
    name: sa.ColumnElement[str] | None,
    number: sa.ColumnElement[float] | None,
    text: sa.ColumnElement[str],
) -> sa.Select[Any]:
    # PostgreSQL wants the same type in every part, also where a part has only NULL.
    return sa.select(
        sa.literal_column(str(kind)).label("kind"),
        trial_id.label("trial_id"),
        (sa.literal_column("0") if index is None else index).label("index_"),
        (sa.cast(sa.null(), sa.String(1)) if name is None else name).label("name"),
        (sa.cast(sa.null(), sa.Double) if number is None else number).label("number"),
        text.label("text_"),
    ).where(trial_id.in_(sa.bindparam("ids", expanding=True)))


def _unless_finite(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """Returns the name of the value's type, NULL for the usual one, to send and parse less."""
    return sa.case((column != "FINITE", sa.cast(column, sa.String(16))))


HEADS = sa.select(*_HEAD).order_by(schema.trials.c.trial_id)
HEAD = sa.select(*_HEAD).where(schema.trials.c.trial_id == sa.bindparam("trial"))
# These are by far the most rows, so they have no superfluous column.
STEPS = sa.select(
    _S.trial_id,
    _S.step,
    _S.intermediate_value,
    _unless_finite(_S.intermediate_value_type),
).where(_S.trial_id.in_(sa.bindparam("ids", expanding=True)))
ONE_PARAM = sa.select(schema.trial_params.c.param_value).where(
    schema.trial_params.c.trial_id == sa.bindparam("trial"),
    schema.trial_params.c.param_name == sa.bindparam("name"),
)
STEP_LISTS = _list(
    STEP_LIST,
    _S.trial_id,
    _S.step,
    _S.intermediate_value,
    _unless_finite(_S.intermediate_value_type),
)
LAST_TRIAL = (
    sa.select(schema.trials.c.trial_id, schema.trials.c.number)
    .where(schema.trials.c.study_id == sa.bindparam("study"))
    .order_by(schema.trials.c.trial_id.desc())
    .limit(1)
)
TRIALS_SINCE = (
    sa.select(schema.trials.c.trial_id, schema.trials.c.number)
    .where(
        schema.trials.c.study_id == sa.bindparam("study"),
        schema.trials.c.trial_id > sa.bindparam("last"),
    )
    .order_by(schema.trials.c.trial_id)
)
