"""Study records: what the database knows of a study, read by name or by id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast

import sqlalchemy as sa

from hpo.errors import SpecError, StoreError, did_you_mean
from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.db.schema import VERSION_TABLE
from hpo.store.ledger.leases import StudyState
from hpo.store.rows import stored_specs, study_rows
from hpo.store.studies import renaming

_NAME = optuna_tables.studies.c.study_name


@dataclass(frozen=True)
class StudyRecord:
    """A study's row; times are naive UTC by the database's clock.

    Attributes:
        spec: As it was created or last updated.
        digest: Of the spec, without its budget.
        state: active, paused, stopped or done.
        base_dir: Folder that relative paths of the spec refer to.
        deadline_at: When its budget of hours ends.
        reason: Why it is in its state.
        prior: First points learnt from other studies, for `hpo.search.model.warm_start`.
        files: The name of its folder of files: the name with which it was created.
    """

    study_id: int
    name: str
    spec: StudySpec
    digest: str
    state: StudyState
    base_dir: str | None
    budget: Budget
    deadline_at: datetime | None
    created_at: datetime
    updated_at: datetime
    reason: str | None
    prior: str | None = None
    files: str = ""


def load(db: Database, name: str) -> StudyRecord:
    """Returns the study of this name.

    Raises:
        SpecError: There is none.
        StoreError: hpo did not create it.
    """
    with db.read() as conn:
        return read(conn, name, db)


def reload(db: Database, study: StudyRecord) -> StudyRecord:
    """Returns the present record of a study that was loaded before, also if it was renamed.

    Raises:
        StoreError: It was deleted.
    """
    return load_again(db, study.study_id, study.created_at, study.name)


def load_again(db: Database, study_id: int, created_at: datetime, name: str) -> StudyRecord:
    """Returns the record of a study by its id and its time of creation; see `reload`.

    Raises:
        StoreError: It was deleted.
    """
    own, studies = hpo_study.c, optuna_tables.studies.c
    statement = (
        sa.select(studies.study_name)
        .join(hpo_study, own.study_id == studies.study_id)
        .where(studies.study_id == study_id, own.created_at == created_at)
    )
    with db.read() as conn:
        name_now = conn.scalar(statement)
        if name_now is None:
            raise deleted(db, name)
        return read(conn, name_now, db)


def is_deleted(db: Database, study: StudyRecord) -> bool:
    """Returns whether a study was deleted; False while the database does not answer."""
    own = hpo_study.c
    statement = sa.select(own.study_id).where(
        own.study_id == study.study_id, own.created_at == study.created_at
    )
    try:
        with db.read() as conn:
            return conn.scalar(statement) is None
    except StoreError:
        return False


def deleted(db: Database, name: str) -> StoreError:
    """Returns the error for a study that was deleted meanwhile."""
    return StoreError(
        f"the study {name} is no longer in {db.masked_url}: it was deleted",
        hint="its results were deleted with it; running its file starts it again",
    )


def names(db: Database) -> list[str]:
    """Returns the names of hpo's studies, in alphabetical order."""
    with db.read() as conn:
        return _names(conn)


def is_optunas_own(db: Database, name: str) -> bool:
    """Returns whether a study is one of Optuna's that hpo has not created."""
    with db.read() as conn:
        exists = conn.scalar(sa.select(_NAME).where(_NAME.in_([name]))) is not None
        return exists and name not in _names(conn)


def refuse_optunas_own(url: str | None, name: str) -> None:
    """Checks for a study of Optuna's in a database that has no tables of hpo.

    Raises:
        StoreError: The database has one of this name.
    """
    try:
        db = Database.connect(url)
    except StoreError:
        return
    try:
        with db.read() as conn:
            tables = sa.inspect(conn).get_table_names()
            has_ours = not {hpo_study.name, VERSION_TABLE}.isdisjoint(tables)
            query = sa.select(_NAME).where(_NAME.in_([name]))
            exists = not has_ours and conn.scalar(query) is not None
    except StoreError:
        # There are no tables of Optuna's either: opening the database reports that.
        return
    finally:
        db.dispose()
    if exists:
        raise _optunas_own(name)


def _optunas_own(name: str) -> StoreError:
    return StoreError(
        f"{name} was not created by hpo: it is a study of Optuna's; continue it in Optuna, "
        "or choose another name"
    )


def read(conn: sa.Connection, name: str, db: Database) -> StudyRecord:
    """Returns the study of this name, in the caller's transaction; see `load`."""
    studies = optuna_tables.studies
    statement = (
        sa.select(studies.c.study_id.label("optuna_id"), hpo_study)
        .join_from(studies, hpo_study, hpo_study.c.study_id == studies.c.study_id, isouter=True)
        .where(studies.c.study_name == name)
    )
    row = conn.execute(statement).one_or_none()
    if row is None:
        raise SpecError(
            f"there is no study called {name} in {db.masked_url}{did_you_mean(name, _names(conn))}"
        )
    if row.study_id is None:
        raise _optunas_own(name)
    spec = stored_specs.read(row.spec, name)
    return StudyRecord(
        study_id=row.study_id,
        name=name,
        spec=spec,
        digest=row.digest,
        state=cast(StudyState, row.state),
        base_dir=row.base_dir,
        budget=spec.budget,
        deadline_at=row.deadline_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        reason=row.reason,
        prior=row.prior,
        files=renaming.files_of(conn, row.study_id, name),
    )


def read_by_id(conn: sa.Connection, study_id: int, db: Database) -> StudyRecord:
    """Returns the study of this id, in the caller's transaction.

    Raises:
        SpecError: There is none.
        StoreError: hpo did not create it.
    """
    return read(conn, study_rows.name_of(conn, study_id) or "", db)


def _names(conn: sa.Connection) -> list[str]:
    studies = optuna_tables.studies.c
    statement = (
        sa.select(_NAME).join(hpo_study, hpo_study.c.study_id == studies.study_id).order_by(_NAME)
    )
    return list(conn.scalars(statement))
