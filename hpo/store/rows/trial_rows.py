"""Trial rows: built, written and locked, in the caller's transaction.

Optuna's storage and the ledger share these functions. Two modules write rows of trials in ways of
their own: `epoch_reports` inserts intermediate values in one statement with its epochs, and
`copy_rows` inserts rows as another database has them. `write_fenced` writes one row unless its
trial is finished. Before `write_rows` the caller reads the trials' states under `lock_trials`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db import compiled_statements
from hpo.store.db import optuna_tables as schema
from hpo.store.rows import last_ids, trial_queries, upserts
from hpo.store.rows.upserts import OPEN_STATES, UpsertTarget

# Optuna never overwrites a parameter of a trial: a second insert fails and is ignored.
PARAMS = UpsertTarget(schema.trial_params, ("trial_id", "param_name"), ())
INTERMEDIATES = UpsertTarget(
    schema.trial_intermediate_values,
    ("trial_id", "step"),
    ("intermediate_value", "intermediate_value_type"),
)
VALUES = UpsertTarget(schema.trial_values, ("trial_id", "objective"), ("value", "value_type"))
USER_ATTRS = UpsertTarget(schema.trial_user_attributes, ("trial_id", "key"), ("value_json",))
SYSTEM_ATTRS = UpsertTarget(schema.trial_system_attributes, ("trial_id", "key"), ("value_json",))
CHILD_TARGETS = (PARAMS, INTERMEDIATES, VALUES, USER_ATTRS, SYSTEM_ATTRS)


class TrialHead(NamedTuple):
    """The columns of a trial that its writer decides by."""

    study_id: int
    number: int
    state: TrialState


def param_row(trial_id: int, name: str, value: float, distribution_json: str) -> dict[str, Any]:
    """Returns a row of `trial_params`.

    Args:
        trial_id: The trial.
        name: The parameter's name.
        value: In Optuna's internal representation.
        distribution_json: From `optuna.distributions.distribution_to_json`.
    """
    return {
        "trial_id": trial_id,
        "param_name": name,
        "param_value": float(value),
        "distribution_json": distribution_json,
    }


def intermediate_row(trial_id: int, step: int, value: float) -> dict[str, Any]:
    """Returns a row of `trial_intermediate_values`; NaN and infinities are allowed."""
    number, kind = schema.intermediate_to_row(value)
    return {
        "trial_id": trial_id,
        "step": int(step),
        "intermediate_value": number,
        "intermediate_value_type": kind,
    }


def value_rows(trial_id: int, values: Sequence[float]) -> list[dict[str, Any]]:
    """Returns the rows of `trial_values`, one an objective."""
    stored = [schema.value_to_row(value) for value in values]
    return [
        {"trial_id": trial_id, "objective": index, "value": number, "value_type": kind}
        for index, (number, kind) in enumerate(stored)
    ]


def attr_row(trial_id: int, key: str, value: Any) -> dict[str, Any]:
    """Returns a row of `trial_user_attributes` or `trial_system_attributes`.

    Raises:
        TypeError: JSON has no such value.
    """
    return {"trial_id": trial_id, "key": key, "value_json": json_of(key, value)}


def json_of(key: str, value: Any) -> str:
    """Returns the value of an attribute as Optuna's storage writes it.

    Raises:
        TypeError: JSON has no such value.
    """
    try:
        return json.dumps(value)
    except TypeError as error:
        advice = "a database keeps JSON only; pass a list, or a plain number"
        raise TypeError(f"attribute {key!r}: {error}: {advice}") from error


def write_fenced(connection: sa.Connection, target: UpsertTarget, row: Mapping[str, Any]) -> bool:
    """Writes one row unless the row's trial is finished or unknown, in one statement.

    The statement also holds the trial's row against a concurrent finish until the transaction
    ends, so that nothing is ever added to a finished trial.

    Returns:
        Whether a row was written. If not, the trial is finished or unknown, or nothing changed.
    """
    statement = upserts.one_fenced(target, connection.dialect.name)
    values = {f"new_{column}": row[column] for column in target.columns}
    return connection.execute(statement, values).rowcount > 0


def write_rows(
    connection: sa.Connection,
    target: UpsertTarget,
    rows: Iterable[Mapping[str, Any]],
    *,
    fenced: bool = False,
) -> bool:
    """Writes many rows with one statement (SQLite: one prepared statement, many times).

    Of rows with equal keys the last one counts. Rows are written in the order given: Optuna
    returns a trial's params in the order of their ids.

    Args:
        connection: In a writing transaction.
        target: Where to.
        rows: With all columns of the target.
        fenced: Leave out rows of finished and unknown trials; PostgreSQL only.

    Returns:
        Whether every row was written; always True unless fenced.
    """
    rows = list(rows)
    by_key = dict(zip(map(itemgetter(*target.keys), rows), rows, strict=True))
    if not by_key:
        return True
    dialect = connection.dialect.name
    statement = upserts.many(target, dialect, fenced=fenced)
    given = list(by_key.values())
    if dialect != "postgresql":
        compiled_statements.run_many(connection, statement, given)
        return True
    arrays = {name: upserts.array_text([row[name] for row in given]) for name in target.columns}
    n_written = connection.execute(statement, arrays).rowcount
    return n_written == len(given) or not fenced


def write_rows_fenced(
    connection: sa.Connection, target: UpsertTarget, rows: Sequence[Mapping[str, Any]]
) -> bool:
    """Writes many rows like `write_rows`, but only to trials that are not finished.

    Returns:
        Whether every row was written. If not, a trial is finished or unknown, or one of its rows
        exists and is not to be overwritten: the caller looks with `lock_trials`, and rolls back
        unless all trials are unfinished.
    """
    if connection.dialect.name == "postgresql":
        return write_rows(connection, target, rows, fenced=True)
    # Here one statement cannot both carry many rows and look at their trials.
    trial_ids = {row["trial_id"] for row in rows}
    heads = lock_trials(connection, trial_ids, exclusive=False)
    if len(heads) < len(trial_ids) or any(h.state.is_finished() for h in heads.values()):
        return False
    return write_rows(connection, target, rows)


def lock_study(connection: sa.Connection, study_id: int) -> bool:
    """Locks the study's row until the transaction ends, as Optuna does to number trials.

    On SQLite a writing transaction holds the whole database already.

    Returns:
        Whether the study exists.
    """
    found = connection.execute(_LOCK_STUDY, {"study": study_id}).scalar_one_or_none()
    return found is not None


def lock_trials(
    connection: sa.Connection, trial_ids: Iterable[int], *, exclusive: bool
) -> dict[int, TrialHead]:
    """Locks trials until the transaction ends, in the order of their ids against deadlocks.

    Args:
        connection: In a writing transaction.
        trial_ids: Of any studies; unknown ones are left out of the result.
        exclusive: True to change the trials themselves, False to add rows to them.
    """
    wanted = sorted(set(trial_ids))
    if not wanted:
        return {}
    rows = connection.execute(_LOCK_TRIALS[exclusive], {"ids": wanted})
    return {row[0]: TrialHead(row[1], row[2], row[3]) for row in rows}


def add_trials(
    connection: sa.Connection,
    study_id: int,
    n: int,
    *,
    state: TrialState = TrialState.RUNNING,
    started_at: datetime.datetime | None = None,
    completed_at: datetime.datetime | None = None,
    last: tuple[int, int] | None = None,
) -> list[tuple[int, int]]:
    """Adds `n` trials with the next consecutive numbers; the caller has locked the study.

    Under that lock ids grow in the order of commits within a study, so the trial with the
    greatest id has the greatest number: two look-ups instead of Optuna's count of all trials.

    Args:
        connection: In a writing transaction, after `lock_study`.
        study_id: An existing study.
        n: How many.
        state: Of each of them.
        started_at: Naive UTC.
        completed_at: Naive UTC.
        last: The greatest trial_id and its number, where the caller knows them.

    Returns:
        (trial_id, number) of each, in ascending order.
    """
    if n == 0:
        return []
    if last is None:
        row = connection.execute(trial_queries.LAST_TRIAL, {"study": study_id}).one_or_none()
        last = (0, -1) if row is None else (row[0], row[1])
    last_id, last_number = last
    common = {
        "study_id": study_id,
        "state": state,
        "datetime_start": started_at,
        "datetime_complete": completed_at,
    }
    rows: list[dict[str, Any]] = [{"number": last_number + 1 + i, **common} for i in range(n)]
    above = last_ids.above(connection, schema.trials.c.trial_id)
    if above is not None:
        rows = [{**row, "trial_id": above + 1 + i} for i, row in enumerate(rows)]
    if n == 1:
        key = connection.execute(_INSERT_TRIAL, rows[0]).inserted_primary_key
        return [(int(key[0]), last_number + 1)] if key else []
    if connection.dialect.name == "postgresql":
        # Its driver sends a list of rows one by one.
        series = {"first": last_number + 1, "n": n, **common}
        added = connection.execute(upserts.TRIAL_SERIES, series).all()
    else:
        connection.execute(_INSERT_TRIAL, rows)
        added = connection.execute(
            trial_queries.TRIALS_SINCE, {"study": study_id, "last": last_id}
        ).all()
    return sorted((row[0], row[1]) for row in added)


def change_state(
    connection: sa.Connection,
    trial_ids: Sequence[int],
    state: TrialState,
    at: datetime.datetime,
    *,
    only_from: Sequence[TrialState] = OPEN_STATES,
) -> int:
    """Sets the state of trials that are in one of `only_from`, in one statement.

    Args:
        connection: In a writing transaction.
        trial_ids: All get the same state.
        state: RUNNING sets `datetime_start`, a final state sets `datetime_complete`.
        at: Naive UTC.
        only_from: The compare of this compare-and-set.

    Returns:
        How many trials changed.
    """
    statement = upserts.state_update(state, tuple(only_from), len(trial_ids) == 1)
    ids = trial_ids[0] if len(trial_ids) == 1 else list(trial_ids)
    return connection.execute(statement, {"trials": ids, "at": at}).rowcount


_LOCK_STUDY = (
    sa.select(schema.studies.c.study_id)
    .where(schema.studies.c.study_id == sa.bindparam("study"))
    .with_for_update()
)
_LOCK_TRIALS = {
    exclusive: sa.select(*(schema.trials.c[name] for name in ("trial_id", *TrialHead._fields)))
    .where(schema.trials.c.trial_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(schema.trials.c.trial_id)
    .with_for_update(read=not exclusive)
    for exclusive in (False, True)
}
_INSERT_TRIAL = sa.insert(schema.trials)
