"""Unreadable rows: found and named, where a driver, JSON or TOML would not say which row it is.

SQLite takes any value in any column, every database any text in a column of JSON, and other
programs may write anything. Reading does not check more than it needs to. When it fails, this
module looks for the first row that neither hpo nor Optuna can have written.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import hpo_tables
from hpo.store.db import optuna_tables as optuna
from hpo.store.db.database import Database
from hpo.store.rows import stored_specs

UNREADABLE: Final = (
    *(ValueError, TypeError, LookupError),
    *(AttributeError, ArithmeticError, RecursionError),
)
"""Exceptions of reading such a row."""
STUDY_STATES: Final = ("active", "paused", "stopped", "done")
BATCH: Final = 1_000
"""Rows in memory at a time."""
_LONGEST_EXCERPT: Final = 40
"""Characters of a value that a message shows."""

Row = Mapping[str, Any]


def first(db: Database, study_id: int | None = None) -> str | None:
    """Returns which row cannot be read, and why, in a line; None where all can be.

    Args:
        db: The database.
        study_id: The study to look at; None for all.
    """
    try:
        with db.read() as conn:
            return next(_wrong_rows(conn, study_id), None)
    except StoreError:
        # A table or a column is missing: opening the database reports that.
        return None


def _wrong_rows(conn: sa.Connection, study_id: int | None) -> Iterator[str]:
    for table in (*optuna.metadata.sorted_tables, *hpo_tables.metadata.sorted_tables):
        condition = _of_study(table, study_id)
        if table.name in _SKIPPED or condition is None:
            continue
        # As the driver gives it: SQLAlchemy's types would raise on a value of another type.
        raw = [sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in table.c]
        query = sa.select(*raw).where(condition).order_by(*(c.name for c in table.primary_key))
        for found in conn.execute(query).mappings().yield_per(BATCH):
            row: Row = dict(found)
            why = _problem(table, row)
            if why:
                key = ", ".join(f"{c.name} {_excerpt(row[c.name])}" for c in table.primary_key)
                yield f"table {table.name}, row {key}: {why}"
    yield from _without_direction(conn, study_id)


_SKIPPED: Final = frozenset({"version_info", "trial_heartbeats", "hpo_stack"})


def _of_study(table: sa.Table, study_id: int | None) -> sa.ColumnElement[bool] | None:
    if study_id is None:
        return sa.true()
    if "study_id" in table.c:
        return table.c.study_id == study_id
    if "trial_id" in table.c:
        trials = optuna.trials.c
        of_study = sa.select(trials.trial_id).where(trials.study_id == study_id)
        return table.c.trial_id.in_(of_study)
    return None


def _without_direction(conn: sa.Connection, study_id: int | None) -> Iterator[str]:
    studies, of_study = optuna.studies.c, optuna.study_directions.c.study_id
    query = (
        sa.select(studies.study_id)
        .outerjoin(optuna.study_directions, of_study == studies.study_id)
        .where(of_study.is_(None))
    )
    query = query if study_id is None else query.where(studies.study_id == study_id)
    for found in conn.scalars(query):
        yield f"table study_directions: the study with study_id {found} has no row"


def _problem(table: sa.Table, row: Row) -> str:
    for column in table.c:
        value = row[column.name]
        if value is None:
            is_needed = not column.nullable or (table.name, column.name) in _NEEDED
            why = "it is NULL" if is_needed else ""
        else:
            check = _CHECKS.get((table.name, column.name))
            why = _not_of_type(column, value) or ("" if check is None else check(value))
        if why:
            return f"{column.name} cannot be read: {why}"
    check_row = _ROW_CHECKS.get(table.name)
    return "" if check_row is None else check_row(row)


def _not_of_type(column: sa.Column[Any], value: Any) -> str:
    kind = column.type
    if isinstance(kind, sa.Integer):
        # A server's driver may give a Decimal for a BIGINT.
        return "" if isinstance(value, int) else _found("a whole number", value)
    if isinstance(kind, sa.Float | sa.Double):
        is_number = isinstance(value, int | float | decimal.Decimal)
        return "" if is_number else _found("a number", value)
    if isinstance(kind, sa.DateTime):
        return _not_a_time(value)
    names = getattr(kind, "names", None) or getattr(kind, "enums", None)
    if names is not None:
        return "" if value in names else _found(f"one of {', '.join(names)}", value)
    return "" if isinstance(value, str) else _found("text", value)


def _not_a_time(value: Any) -> str:
    try:
        if not isinstance(value, datetime.datetime):
            datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return _found("a time", value)
    return ""


def _found(wanted: str, value: Any) -> str:
    return f"it must be {wanted}; found {_excerpt(value)}"


def _excerpt(value: Any) -> str:
    # A value of gigabytes is not written in full to be cut.
    text = repr(value[:_LONGEST_EXCERPT] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 2 * _LONGEST_EXCERPT else f"{text[: 2 * _LONGEST_EXCERPT]}..."


def _json(value: str) -> str:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return _found("JSON", value)
    return ""


def _json_of(fits: Callable[[Any], bool], wanted: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        return _json(value) or ("" if fits(json.loads(value)) else _found(wanted, value))

    return check


def _is_metrics(found: Any) -> bool:
    return isinstance(found, dict) and all(
        entry is None or (isinstance(entry, int | float) and not isinstance(entry, bool))
        for entry in found.values()
    )


def _is_distribution(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return False
    attributes = found.get("attributes")
    if not isinstance(attributes, dict):
        return False
    return not found["name"].startswith("Categorical") or isinstance(
        attributes.get("choices"), list
    )


def _is_table(found: Any) -> bool:
    return isinstance(found, dict)


def _is_prior(found: Any) -> bool:
    return isinstance(found, dict) and isinstance(found.get("sources"), list)


def _is_record(found: Any) -> bool:
    keys = {"ask": dict, "drawn": list, "granted": list}
    return isinstance(found, dict) and all(isinstance(found.get(k), t) for k, t in keys.items())


def _spec(value: str) -> str:
    try:
        stored_specs.read(value, "")
    except StoreError as error:
        return error.message.rpartition("cannot be read: ")[2]
    return ""


def _state(value: str) -> str:
    return "" if value in STUDY_STATES else _found(f"one of {', '.join(STUDY_STATES)}", value)


def _param(row: Row) -> str:
    """Returns what is wrong with a parameter: a choice that does not exist, or no number."""
    found, value = json.loads(row["distribution_json"]), float(row["param_value"])
    if found["name"].startswith("Categorical"):
        n = len(found["attributes"]["choices"])
        if not (math.isfinite(value) and 0 <= value < n):
            return f"param_value cannot be read: it must be one of {n} choices; found {value:g}"
    elif not math.isfinite(value):
        return f"param_value cannot be read: {_found('a finite number', value)}"
    return ""


def _value(name: str) -> Callable[[Row], str]:
    def check(row: Row) -> str:
        is_missing = row[name] is None and row[f"{name}_type"] == "FINITE"
        return f"{name} cannot be read: it is NULL" if is_missing else ""

    return check


_ATTRIBUTES: Final = (
    *("study_user_attributes", "study_system_attributes"),
    *("trial_user_attributes", "trial_system_attributes"),
)
_NEEDED: Final = frozenset(
    {
        ("trials", "number"),
        *((name, column) for name in _ATTRIBUTES for column in ("key", "value_json")),
        *(("trial_params", c) for c in ("param_name", "param_value", "distribution_json")),
    }
)
_CHECKS: Final[dict[tuple[str, str], Callable[[Any], str]]] = {
    **{(name, "value_json"): _json for name in _ATTRIBUTES},
    ("trial_params", "distribution_json"): _json_of(_is_distribution, "a distribution of Optuna's"),
    ("hpo_epoch", "metrics"): _json_of(_is_metrics, "a JSON table of numbers"),
    ("hpo_worker", "versions"): _json_of(_is_table, "a JSON table"),
    ("hpo_study", "prior"): _json_of(_is_prior, "a JSON table with sources"),
    ("hpo_study", "spec"): _spec,
    ("hpo_study", "state"): _state,
    ("hpo_suggestion", "record"): _json_of(_is_record, "a record of a plan"),
}
_ROW_CHECKS: Final[dict[str, Callable[[Row], str]]] = {
    "trial_params": _param,
    "trial_values": _value("value"),
    "trial_intermediate_values": _value("intermediate_value"),
}
