"""Study budgets: changed while a study runs, and compared with the budget of the run before.

`hpo update` changes the budget in force. A run that gives the same budget as the run before does
not undo that; a run whose file or options give another budget does. So the budget that was last
given is stored, too, among Optuna's attributes of the study, and is copied with the study.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from hpo.spec import toml
from hpo.spec.study_spec import Budget
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.ledger import budgets, spending
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import study_rows
from hpo.store.rows.events import Event
from hpo.store.studies.study_records import StudyRecord, read

_ATTRIBUTE = "hpo:given_budget"
_TABLE = optuna_tables.study_system_attributes


def change(
    db: Database, study_id: int, new_budget: Callable[[StudyRecord], Budget]
) -> tuple[StudyRecord, StudyRecord]:
    """Changes a study's budget, raising or lowering it, under the study's lock.

    A done study continues if the budget grew and some of it is left. Any other study is done when
    the budget is spent. Running trials stay, though they may be more than the budget allows, and
    no others start in their place. Trials with more epochs than the budget has now are released,
    to be resumed with fewer. Hours count from the study's creation.

    Args:
        db: The database.
        study_id: The study.
        new_budget: Returns the new budget, given the study as it is.

    Returns:
        The study before and after.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> tuple[StudyRecord, StudyRecord]:
        locked = LockedStudy.lock(db, conn, study_id)
        name = study_rows.name_of(conn, study_id) or ""
        before = read(conn, name, db)
        budget = new_budget(before)
        if budget == before.budget:
            return before, before
        update(locked, before, budget)
        return before, read(conn, name, db)

    return db.transaction(work)


def update(locked: LockedStudy, record: StudyRecord, budget: Budget) -> None:
    """Does what `change` does to a locked study, in the caller's transaction."""
    spec = record.spec.model_copy(update={"budget": budget})
    locked.limits = budgets.limits(spec, record.created_at).with_more_trials(
        spending.n_exempt(locked)
    )
    values: dict[str, Any] = {"spec": toml.dumps(spec), **vars(locked.limits)}
    if locked.state == "done" and budgets.grew(record.budget, budget):
        values |= {"state": "active", "reason": None}
        locked.state, locked.reason = "active", None
    locked.update_study(updated_at=locked.now, **values)
    locked.record([Event(locked.study_id, "budget", _changes(record.budget, budget))])
    spending.finish_if_target_reached(locked, reported=True)
    spending.finish_if_spent(locked)
    if spec.objective is None:
        # An objective counts its steps itself: no budget of epochs ends its trials.
        spending.release_over_budget(locked)
    if locked.state == "done":
        locked.prune_unowned_trials()


def last_given(conn: sa.Connection, study_id: int) -> dict[str, Any] | None:
    """Returns the entries of the budget that a run has last given; None where none is known."""
    statement = sa.select(_TABLE.c.value_json).where(
        _TABLE.c.study_id == study_id, _TABLE.c.key == _ATTRIBUTE
    )
    text = conn.execute(statement).scalar()
    found: dict[str, Any] | None = None if text is None else json.loads(text)
    return found


def note_given(conn: sa.Connection, study_id: int, budget: Budget) -> bool:
    """Stores the budget that a run gives.

    Returns:
        Whether it differs from the one that the run before has given.
    """
    table = budget.to_table()
    if last_given(conn, study_id) == table:
        return False
    study_rows.put_attr(conn, _TABLE, study_id, _ATTRIBUTE, table)
    return True


def _changes(old: Budget, new: Budget) -> str:
    before, after = old.model_dump(), new.model_dump()
    changed = (key for key in after if before[key] != after[key])
    return ", ".join(f"{key} {_shown(before[key])} -> {_shown(after[key])}" for key in changed)


def _shown(limit: Any) -> str:
    if limit is None:
        return "none"
    return f"{limit:.4g}" if isinstance(limit, float) else str(limit)
