"""Study rows: Optuna's rows of studies, read and written in the caller's transaction."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.store.db import optuna_tables as schema
from hpo.store.db.optuna_schema import FrozenStudy
from hpo.store.rows import last_ids
from hpo.store.rows.trial_rows import CHILD_TARGETS, json_of, lock_study
from hpo.store.rows.upserts import UpsertTarget, insert_or_update

CONFIRMS: Final = "hpo:confirms"
"""System attribute that links a study with the one that it confirms, and a trial with its trial."""
_studies, _trials, _values = schema.studies.c, schema.trials.c, schema.trial_values.c


def create(connection: sa.Connection, name: str, directions: Sequence[StudyDirection]) -> int:
    """Adds a study and returns its id.

    Raises:
        sqlalchemy.exc.IntegrityError: The name is taken.
    """
    above = last_ids.above(connection, _studies.study_id)
    row = {"study_name": name} | ({} if above is None else {"study_id": above + 1})
    result = connection.execute(sa.insert(schema.studies), row)
    (study_id,) = result.inserted_primary_key or (0,)
    connection.execute(
        sa.insert(schema.study_directions),
        [
            {"study_id": study_id, "objective": index, "direction": direction}
            for index, direction in enumerate(directions)
        ],
    )
    return int(study_id)


def delete(connection: sa.Connection, study_id: int) -> bool:
    """Deletes a study with its trials; foreign keys delete the rows of other tables.

    Returns:
        False when there is no such study.
    """
    if not lock_study(connection, study_id):
        return False
    own = sa.select(_trials.trial_id).where(_trials.study_id == study_id)
    # Writers of single rows lock their trial only, not the study: wait for them here.
    connection.execute(own.order_by(_trials.trial_id).with_for_update())
    for table in (*(target.table for target in CHILD_TARGETS), schema.trial_heartbeats):
        connection.execute(sa.delete(table).where(table.c.trial_id.in_(own)))
    for table in (
        schema.trials,
        schema.study_directions,
        schema.study_user_attributes,
        schema.study_system_attributes,
        schema.studies,
    ):
        connection.execute(sa.delete(table).where(table.c.study_id == study_id))
    return True


def id_of(connection: sa.Connection, name: str) -> int | None:
    """Returns the id of the study with this name, or None."""
    statement = sa.select(_studies.study_id).where(_studies.study_name == name)
    return connection.execute(statement).scalar_one_or_none()


def name_of(connection: sa.Connection, study_id: int) -> str | None:
    """Returns the study's name, or None where there is no such study."""
    statement = sa.select(_studies.study_name).where(_studies.study_id == study_id)
    return connection.execute(statement).scalar_one_or_none()


def directions_of(connection: sa.Connection, study_id: int) -> list[StudyDirection]:
    """Returns the study's directions in the order of its objectives; [] for an unknown study."""
    d = schema.study_directions.c
    statement = sa.select(d.direction).where(d.study_id == study_id).order_by(d.objective)
    return list(connection.execute(statement).scalars())


def put_attr(
    connection: sa.Connection, table: sa.Table, study_id: int, key: str, value: Any
) -> bool:
    """Sets an attribute of a study with one statement.

    Args:
        connection: In a writing transaction.
        table: `study_user_attributes` or `study_system_attributes`.
        study_id: The study.
        key: The attribute's name.
        value: Anything that JSON can hold.

    Returns:
        False when there is no such study.
    """
    row = {"study": study_id, "new_key": key, "new_value": json_of(key, value)}
    statement = _attr_statement(table, connection.dialect.name)
    if connection.execute(statement, row).rowcount > 0:
        return True
    # MySQL may not count a row that keeps its value.
    return name_of(connection, study_id) is not None


def attrs_of(
    connection: sa.Connection, parent: sa.Table, table: sa.Table, row_id: int
) -> dict[str, Any] | None:
    """Returns the attributes of a study or a trial, or None where there is no such row.

    Args:
        connection: In a transaction.
        parent: `studies` or `trials`.
        table: Its table of user or system attributes.
        row_id: The study's or trial's id.
    """
    rows = connection.execute(_attrs_statement(parent, table), {"row": row_id}).all()
    if not rows:
        return None
    return {key: json.loads(value) for key, value in rows if key is not None}


def all_studies(connection: sa.Connection) -> list[FrozenStudy]:
    """Returns every study, ascending by id, with four statements."""
    directions: defaultdict[int, list[StudyDirection]] = defaultdict(list)
    d = schema.study_directions.c
    for study_id, direction in connection.execute(
        sa.select(d.study_id, d.direction).order_by(d.study_id, d.objective)
    ):
        directions[study_id].append(direction)
    user_attrs = _all_attrs(connection, schema.study_user_attributes)
    system_attrs = _all_attrs(connection, schema.study_system_attributes)
    names = sa.select(_studies.study_id, _studies.study_name).order_by(_studies.study_id)
    return [
        FrozenStudy(
            study_name=name,
            direction=None,
            directions=directions[study_id],
            user_attrs=user_attrs[study_id],
            system_attrs=system_attrs[study_id],
            study_id=study_id,
        )
        for study_id, name in connection.execute(names)
    ]


def best_trial_id(
    connection: sa.Connection, study_id: int, direction: StudyDirection
) -> int | None:
    """Returns the COMPLETE trial with the best first value, the oldest of equals, or None."""
    rank = sa.case(
        (_values.value_type == schema.ValueType.INF_NEG, -1),
        (_values.value_type == schema.ValueType.INF_POS, 1),
        else_=0,
    )
    best_first = sa.desc if direction is StudyDirection.MAXIMIZE else sa.asc
    statement = (
        sa.select(_trials.trial_id)
        .join(schema.trial_values, _values.trial_id == _trials.trial_id)
        .where(
            _trials.study_id == study_id,
            _trials.state == TrialState.COMPLETE,
            _values.objective == 0,
        )
        .order_by(best_first(rank), best_first(_values.value), _trials.trial_id)
        .limit(1)
    )
    return connection.execute(statement).scalar_one_or_none()


def trial_id_of(connection: sa.Connection, study_id: int, number: int) -> int | None:
    """Returns the id of the study's trial with this number, or None."""
    statement = sa.select(_trials.trial_id).where(
        _trials.study_id == study_id, _trials.number == number
    )
    return connection.execute(statement).scalars().first()


def distribution_of(connection: sa.Connection, study_id: int, name: str) -> str | None:
    """Returns the JSON of the distribution that the study uses for a parameter, or None."""
    p = schema.trial_params.c
    statement = (
        sa.select(p.distribution_json)
        .join(schema.trials, _trials.trial_id == p.trial_id)
        .where(_trials.study_id == study_id, p.param_name == name)
        .limit(1)
    )
    return connection.execute(statement).scalar_one_or_none()


def _all_attrs(connection: sa.Connection, table: sa.Table) -> defaultdict[int, dict[str, Any]]:
    found: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for study_id, key, value in connection.execute(
        sa.select(table.c.study_id, table.c.key, table.c.value_json)
    ):
        found[study_id][key] = json.loads(value)
    return found


@lru_cache(maxsize=4)
def _attrs_statement(parent: sa.Table, table: sa.Table) -> sa.Select[Any]:
    (parent_id,) = parent.primary_key.columns
    child_id = table.c[parent_id.name]
    return (
        sa.select(table.c.key, table.c.value_json)
        .select_from(parent.outerjoin(table, child_id == parent_id))
        .where(parent_id == sa.bindparam("row"))
    )


@lru_cache(maxsize=6)
def _attr_statement(table: sa.Table, dialect: str) -> sa.Insert:
    source = sa.select(
        _studies.study_id,
        sa.bindparam("new_key", type_=table.c.key.type),
        sa.bindparam("new_value", type_=table.c.value_json.type),
    ).where(_studies.study_id == sa.bindparam("study"))
    return insert_or_update(
        UpsertTarget(table, ("study_id", "key"), ("value_json",)), dialect, source
    )
