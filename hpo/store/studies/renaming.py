"""Renaming: a study gets another name, also while workers train it, as they know it by its id.

Its files stay in the folder of the name that it was created with. That name is stored among
Optuna's attributes of the study, and no later study gets the same folder.
"""

from __future__ import annotations

import json

import sqlalchemy as sa

from hpo.errors import SpecError, StoreError
from hpo.spec import toml
from hpo.spec.values.findings import Findings
from hpo.spec.values.kinds import WRONG, StudyName
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import stored_specs, study_rows, trial_rows
from hpo.store.rows.events import Event

_FILES = "hpo:files"
_TABLE = optuna_tables.study_system_attributes
_STUDIES = optuna_tables.studies
_MAX_LENGTH = optuna_tables.MAX_NAME_LENGTH


def rename(db: Database, study_id: int, name: str) -> str:
    """Gives a study another name, one of hpo's or of plain Optuna's.

    Args:
        db: The database.
        study_id: The study.
        name: The new name.

    Returns:
        The name that it had.

    Raises:
        SpecError: The name is wrong, or another study has it.
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> str:
        is_ours = conn.scalar(_is_ours(study_id)) is not None
        locked = LockedStudy.lock(db, conn, study_id) if is_ours else None
        if locked is None and not trial_rows.lock_study(conn, study_id):
            raise StoreError(f"study {study_id} is no longer in {db.masked_url}; was it deleted?")
        old = study_rows.name_of(conn, study_id) or ""
        if old == name:
            return old
        _require_name(name, is_ours=is_ours)
        # A database may compare names without regard to case.
        if study_rows.id_of(conn, name) not in (None, study_id):
            raise _taken(name)
        conn.execute(
            sa.update(_STUDIES).where(_STUDIES.c.study_id == study_id).values(study_name=name)
        )
        if locked is not None:
            _rename_ours(locked, old, name)
        return old

    try:
        return db.transaction(work)
    except sa.exc.IntegrityError:
        # Another process has taken the name meanwhile.
        raise _taken(name) from None


def files_of(conn: sa.Connection, study_id: int, name: str) -> str:
    """Returns the name of the folder of a study's files: its first name."""
    text = conn.scalar(
        sa.select(_TABLE.c.value_json).where(_TABLE.c.study_id == study_id, _TABLE.c.key == _FILES)
    )
    return name if text is None else str(json.loads(text))


def reserve_files(conn: sa.Connection, study_id: int, name: str) -> None:
    """Gives a new study a folder of its own, if a renamed study has its name's."""
    statement = sa.select(_TABLE.c.value_json).where(_TABLE.c.key == _FILES)
    taken = {json.loads(text) for text in conn.scalars(statement)}
    if name in taken:
        study_rows.put_attr(conn, _TABLE, study_id, _FILES, f"{name}-{study_id}")


def _rename_ours(locked: LockedStudy, old: str, name: str) -> None:
    files = files_of(locked.conn, locked.study_id, old)
    study_rows.put_attr(locked.conn, _TABLE, locked.study_id, _FILES, files)
    text = locked.conn.scalar(
        sa.select(hpo_study.c.spec).where(hpo_study.c.study_id == locked.study_id)
    )
    spec = stored_specs.read(text, old).model_copy(update={"name": name})
    locked.update_study(spec=toml.dumps(spec), digest=spec.digest, updated_at=locked.now)
    locked.record([Event(locked.study_id, "renamed", f"{old} -> {name}")])


def _require_name(name: str, *, is_ours: bool) -> None:
    """Checks that a study may have this name.

    Raises:
        SpecError: It may not.
    """
    if not name.strip() or len(name) > _MAX_LENGTH or not name.isprintable():
        raise SpecError(f"a study's name has 1 to {_MAX_LENGTH} printable characters")
    findings = Findings()
    if is_ours and StudyName().read(name, findings) is WRONG:
        raise SpecError(f"the name {findings.problems[0].message}")


def _taken(name: str) -> SpecError:
    return SpecError(f"there is a study called {name} already")


def _is_ours(study_id: int) -> sa.Select[tuple[int]]:
    return sa.select(hpo_study.c.study_id).where(hpo_study.c.study_id == study_id)
