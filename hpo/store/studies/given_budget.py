"""The budget that a run has last given a study, beside the one that holds.

`hpo update` changes the one that holds. A run that gives once more what was given before does not
take that back; one that gives another budget, for its file or options have changed, does. It
stands among Optuna's attributes of the study, so that copying the study takes it along.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from hpo.spec.study_spec import Budget
from hpo.store.db import optuna_tables
from hpo.store.rows import study_rows

_ATTRIBUTE = "hpo:given_budget"
_TABLE = optuna_tables.study_system_attributes


def read(conn: sa.Connection, study_id: int) -> dict[str, Any] | None:
    """Returns the entries of the budget that was last given; None where none is known."""
    statement = sa.select(_TABLE.c.value_json).where(
        _TABLE.c.study_id == study_id, _TABLE.c.key == _ATTRIBUTE
    )
    text = conn.execute(statement).scalar()
    found: dict[str, Any] | None = None if text is None else json.loads(text)
    return found


def note(conn: sa.Connection, study_id: int, budget: Budget) -> bool:
    """Notes the budget that a run gives.

    Returns:
        Whether it is another than the run before has given.
    """
    table = budget.to_table()
    if read(conn, study_id) == table:
        return False
    study_rows.put_attr(conn, _TABLE, study_id, _ATTRIBUTE, table)
    return True
