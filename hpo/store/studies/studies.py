"""Studies: their spec, state and budget, beside Optuna's row for each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.study import StudyDirection

from hpo.errors import SpecError
from hpo.spec import toml
from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.ledger import budgets, spending
from hpo.store.ledger.leases import StudyState
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import study_rows
from hpo.store.rows.events import Event
from hpo.store.studies import given_budget, renaming, study_endings
from hpo.store.studies.study_records import StudyRecord as StudyRecord
from hpo.store.studies.study_records import deleted as deleted
from hpo.store.studies.study_records import is_deleted as is_deleted
from hpo.store.studies.study_records import load as load
from hpo.store.studies.study_records import load_again as load_again
from hpo.store.studies.study_records import names as names
from hpo.store.studies.study_records import read
from hpo.store.studies.study_records import reload as reload

logger = logging.getLogger(__name__)
_DIRECTIONS = {"maximize": StudyDirection.MAXIMIZE, "minimize": StudyDirection.MINIMIZE}
_NAME = optuna_tables.studies.c.study_name
_EPOCH = datetime(1970, 1, 1)


def create_or_join(
    db: Database, spec: StudySpec, base_dir: str | None, *, by_name: bool = False
) -> tuple[StudyRecord, bool]:
    """Creates the study of a spec, or joins the one that is there, in one transaction.

    A study of the same name is joined when it differs in nothing but the budget. That is then
    updated, unless it is what was given the last time: `hpo update` has changed it since. One that
    was stopped for its objective returns more values than it has directions is replaced by one
    with directions for them.

    Args:
        db: The database.
        spec: The study.
        base_dir: Folder that its relative paths refer to.
        by_name: The spec is that of the study itself: its budget is given by nobody.

    Returns:
        The study, and whether it was created now.

    Raises:
        SpecError: Another spec has this name; the message shows what differs.
        StoreError: Optuna made a study of this name.
    """

    def work(conn: sa.Connection) -> tuple[StudyRecord, bool]:
        study_id = study_rows.id_of(conn, spec.name)
        if study_id is not None and _is_superseded(conn, spec, db, study_id):
            logger.warning("%s had no results; it begins anew with its directions", spec.name)
            study_rows.delete(conn, study_id)
            study_id = None
        if study_id is None:
            study_id = _insert_optuna(conn, spec)
            if study_id is not None:
                _insert_ours(db, conn, study_id, spec, base_dir)
                renaming.reserve_files(conn, study_id, spec.name)
                given_budget.note(conn, study_id, spec.budget)
                return read(conn, spec.name, db), True
        record = read(conn, spec.name, db)
        if record.digest != spec.digest:
            raise _other_spec(record, spec)
        # First, for it locks the study, which the note then does not have to.
        locked = (
            None if record.budget == spec.budget else LockedStudy.take(db, conn, record.study_id)
        )
        is_new = by_name or given_budget.note(conn, record.study_id, spec.budget)
        if locked is not None and is_new:
            _update_budget(locked, read(conn, spec.name, db), spec.budget)
            record = read(conn, spec.name, db)
        return record, False

    return db.transaction(work)


def is_done(db: Database, study_id: int) -> bool:
    """Tells whether a study is over: one short read, for those who have nothing else to do."""
    query = sa.select(hpo_study.c.state).where(hpo_study.c.study_id == study_id)
    with db.read() as conn:
        return conn.scalar(query) == "done"


def set_state(db: Database, study_id: int, state: StudyState, reason: str | None = None) -> None:
    """Sets a study's state; workers follow at their next claim or heartbeat.

    A study that becomes done has its unfinished trials that nobody works on pruned.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> None:
        locked = LockedStudy.take(db, conn, study_id)
        if (locked.state, locked.reason) == (state, reason):
            return
        locked.state, locked.reason = state, reason
        locked.update_study(state=state, reason=reason, updated_at=locked.now)
        locked.record([Event(study_id, state, reason or "")])
        if state == "done":
            locked.end_free_trials()

    db.transaction(work)


def set_budget(db: Database, study_id: int, budget: Budget) -> None:
    """Changes a study's budget; see `change_budget`.

    Raises:
        StoreError: There is no such study.
    """
    change_budget(db, study_id, lambda record: budget)


def change_budget(
    db: Database, study_id: int, change: Callable[[StudyRecord], Budget]
) -> tuple[StudyRecord, StudyRecord]:
    """Changes a study's budget, raising or lowering it, while nobody else can.

    A study that is done goes on if the budget grew and something of it is left; any other is done
    when as much has ended as may. Trials that are running stay, though they may be more than
    there should be, and none starts in their place; those with more epochs than there are now are
    taken back and go on towards what is left. Hours count from the study's creation.

    Args:
        db: The database.
        study_id: The study.
        change: Gives the new budget, from the study as it is.

    Returns:
        The study before and after.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> tuple[StudyRecord, StudyRecord]:
        locked = LockedStudy.take(db, conn, study_id)
        name = study_rows.name_of(conn, study_id) or ""
        before = read(conn, name, db)
        budget = change(before)
        if budget == before.budget:
            return before, before
        _update_budget(locked, before, budget)
        return before, read(conn, name, db)

    return db.transaction(work)


def delete(db: Database, study_id: int) -> bool:
    """Deletes a study with everything of it, Optuna's rows and ours.

    Returns:
        False when there was no such study.
    """
    return db.transaction(lambda conn: study_rows.delete(conn, study_id))


def _is_superseded(conn: sa.Connection, spec: StudySpec, db: Database, study_id: int) -> bool:
    if spec.objective is None or not study_endings.has_wrong_count(conn, study_id):
        return False
    record = read(conn, spec.name, db)
    has_same = record.spec.objective == spec.objective
    return has_same and record.state == "stopped" and record.spec.directions != spec.directions


def _insert_optuna(conn: sa.Connection, spec: StudySpec) -> int | None:
    """Inserts Optuna's rows; None when another process has just taken the name."""
    directions = [_DIRECTIONS[direction] for direction in spec.directions]
    try:
        with conn.begin_nested():
            return study_rows.create(conn, spec.name, directions or [StudyDirection.MAXIMIZE])
    except sa.exc.IntegrityError:
        return None


def _insert_ours(
    db: Database, conn: sa.Connection, study_id: int, spec: StudySpec, base_dir: str | None
) -> None:
    now = db.now(conn)
    first_token = (now - _EPOCH).total_seconds() * 1e6
    conn.execute(
        sa.insert(hpo_study).values(
            study_id=study_id,
            digest=spec.digest,
            state="active",
            base_dir=base_dir,
            epochs_spent=0,
            last_token=int(first_token),
            created_at=now,
            updated_at=now,
            spec=toml.dumps(spec),
            **vars(budgets.limits(spec, now)),
        )
    )


def _update_budget(locked: LockedStudy, record: StudyRecord, budget: Budget) -> None:
    spec = record.spec.model_copy(update={"budget": budget})
    locked.limits = budgets.limits(spec, record.created_at).with_more_trials(
        spending.n_excused(locked)
    )
    values: dict[str, Any] = {"spec": toml.dumps(spec), **vars(locked.limits)}
    if locked.state == "done" and budgets.grew(record.budget, budget):
        values |= {"state": "active", "reason": None}
        locked.state, locked.reason = "active", None
    locked.update_study(updated_at=locked.now, **values)
    locked.record([Event(locked.study_id, "budget", _changes(record.budget, budget))])
    spending.finish_if_target_reached(locked, reported=True)
    spending.finish_if_spent(locked)
    if spec.task is not None:
        # The steps of an objective are its own: no budget of epochs says when it is through.
        spending.recall(locked)
    if locked.state == "done":
        locked.end_free_trials()


def _changes(old: Budget, new: Budget) -> str:
    before, after = old.model_dump(), new.model_dump()
    changed = (key for key in after if before[key] != after[key])
    return ", ".join(f"{key} {_shown(before[key])} -> {_shown(after[key])}" for key in changed)


def _shown(limit: Any) -> str:
    if limit is None:
        return "none"
    return f"{limit:.4g}" if isinstance(limit, float) else str(limit)


def _other_spec(record: StudyRecord, spec: StudySpec) -> SpecError:
    difference = toml.diff(toml.dumps(record.spec), toml.dumps(spec), spec.name)
    return SpecError(
        f"another study called {spec.name} is in the database:",
        details=difference.split("\n"),
        hint=f"give this one another name, go on with the other by `hpo run {spec.name}`, or "
        "delete it with `hpo delete`",
    )
