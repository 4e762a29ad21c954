"""Studies: created, joined and deleted, beside Optuna's row for each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from optuna.study import StudyDirection

from hpo.errors import SpecError
from hpo.spec import toml
from hpo.spec.study_spec import StudySpec
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.ledger import budgets
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import study_rows
from hpo.store.studies import renaming, study_budgets, study_endings
from hpo.store.studies.study_records import StudyRecord, read

logger = logging.getLogger(__name__)
_DIRECTIONS = {"maximize": StudyDirection.MAXIMIZE, "minimize": StudyDirection.MINIMIZE}
_NAME = optuna_tables.studies.c.study_name
_EPOCH = datetime(1970, 1, 1)


def create_or_join(
    db: Database,
    spec: StudySpec,
    base_dir: str | None,
    *,
    by_name: bool = False,
    attrs: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[StudyRecord, bool]:
    """Creates the study of a spec, or joins the one that is there, in one transaction.

    A study of the same name is joined if it differs in nothing but the budget and the resources.
    The resources are then updated, for workers that join by name; each machine uses those that it
    was given. The budget is updated, too, unless the same one was given the last time: `hpo update`
    has changed it since. A study that was stopped because its objective returns more values than it
    has directions is replaced by one with directions for them.

    Args:
        db: The database.
        spec: The study.
        base_dir: Folder that its relative paths refer to.
        by_name: The spec is that of the study itself, so no budget is given.
        attrs: Optuna's system attributes of a new study, with values for JSON.

    Returns:
        The study, and whether it was created now.

    Raises:
        SpecError: Another spec has this name; the message shows what differs.
        StoreError: Optuna made a study of this name.
    """

    def work(conn: sa.Connection) -> tuple[StudyRecord, bool]:
        study_id = study_rows.id_of(conn, spec.name)
        if study_id is not None and _is_superseded(conn, spec, db, study_id):
            logger.warning("%s had no results; it is created again with its directions", spec.name)
            study_rows.delete(conn, study_id)
            study_id = None
        if study_id is None:
            study_id = _insert_optuna(conn, spec)
            if study_id is not None:
                _insert_ours(db, conn, study_id, spec, base_dir)
                renaming.reserve_files(conn, study_id, spec.name)
                study_budgets.note_given(conn, study_id, spec.budget)
                for key, value in attrs.items():
                    table = optuna_tables.study_system_attributes
                    study_rows.put_attr(conn, table, study_id, key, value)
                return read(conn, spec.name, db), True
        record = read(conn, spec.name, db)
        if record.digest != spec.digest:
            raise _other_spec(record, spec)
        return _updated(db, conn, record, spec, by_name=by_name), False

    return db.transaction(work)


def is_done(db: Database, study_id: int) -> bool:
    """Returns whether a study is done, by one short read."""
    query = sa.select(hpo_study.c.state).where(hpo_study.c.study_id == study_id)
    with db.read() as conn:
        return conn.scalar(query) == "done"


def delete(db: Database, study_id: int) -> bool:
    """Deletes a study with all its rows, Optuna's and hpo's.

    Returns:
        False when there was no such study.
    """
    return db.transaction(lambda conn: study_rows.delete(conn, study_id))


def _updated(
    db: Database, conn: sa.Connection, record: StudyRecord, spec: StudySpec, *, by_name: bool
) -> StudyRecord:
    """Updates what may differ between runs of one study; returns its record."""
    has_other_budget = record.budget != spec.budget
    has_other_resources = not by_name and record.spec.resources != spec.resources
    locked = None
    if has_other_budget or has_other_resources:
        # First, because it locks the study, which noting the budget needs, too.
        locked = LockedStudy.lock(db, conn, record.study_id)
    is_new_budget = by_name or study_budgets.note_given(conn, record.study_id, spec.budget)
    if locked is None:
        return record
    if has_other_resources:
        # Read again: another process may have changed the budget before the lock.
        known = read(conn, spec.name, db).spec
        changed = known.model_copy(update={"resources": spec.resources})
        locked.update_study(updated_at=locked.now, spec=toml.dumps(changed))
    if has_other_budget and is_new_budget:
        study_budgets.update(locked, read(conn, spec.name, db), spec.budget)
    return read(conn, spec.name, db)


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


def _other_spec(record: StudyRecord, spec: StudySpec) -> SpecError:
    difference = toml.diff(toml.dumps(record.spec), toml.dumps(spec), spec.name)
    return SpecError(
        f"another study called {spec.name} is in the database:",
        details=difference.split("\n"),
        hint=f"give this one another name, continue the other by `hpo run {spec.name}`, or "
        "delete it with `hpo delete`",
    )
