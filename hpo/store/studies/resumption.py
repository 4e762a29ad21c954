"""Resumption: whether the trials of an objective or a command can be resumed, as it has shown."""

from __future__ import annotations

import json

import sqlalchemy as sa

from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.ledger import fences
from hpo.store.ledger.leases import Lease
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import study_rows
from hpo.store.studies import study_budgets, study_records

_ATTRIBUTE = "hpo:resumes"
_TABLE = optuna_tables.study_system_attributes


def resumes(db: Database, study_id: int) -> bool | None:
    """Returns whether the study's trials can be resumed; None where it has not shown yet."""
    with db.read() as conn:
        return _stored(conn, study_id)


def announce(db: Database, study_id: int, epochs: int | None) -> int:
    """Notes that trials of a study resume from checkpoints, and how many epochs they have.

    The first announcement of a study sets its budget of epochs, unless that was given. Later ones
    change nothing: the budget may have been updated since.

    Args:
        db: The database.
        study_id: The study.
        epochs: As the training loop has them; None where it leaves that to the study.

    Returns:
        The epochs of a trial.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> int:
        locked = LockedStudy.lock(db, conn, study_id)
        name = study_rows.name_of(conn, study_id) or ""
        record = study_records.read(conn, name, db)
        if _stored(conn, study_id) is None:
            _store(conn, study_id, value=True)
            if epochs is not None and "epochs" not in record.budget.to_given():
                budget = record.budget.model_copy(update={"epochs": epochs})
                if budget != record.budget:
                    study_budgets.update(locked, record, budget)
                return epochs
        return record.budget.epochs

    return db.transaction(work)


def give_up(db: Database, study_id: int) -> None:
    """Notes that the trials of a study do not resume, as one of them has shown.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> None:
        LockedStudy.lock(db, conn, study_id)
        _store(conn, study_id, value=False)

    db.transaction(work)


def set_stop(db: Database, lease: Lease, epoch_stop: int) -> bool:
    """Sets how far a trial trains before the search decides; its epochs stay reserved so far.

    Returns:
        Whether the lease is in force.
    """
    column = hpo_lease.c

    def work(conn: sa.Connection) -> bool:
        LockedStudy.lock(db, conn, lease.study_id)
        owned = fences.fence([(lease.trial_id, lease.token)])
        found = conn.execute(
            sa.update(hpo_lease).where(owned).values({column.epoch_stop: epoch_stop})
        )
        return found.rowcount > 0

    return db.transaction(work)


def _stored(conn: sa.Connection, study_id: int) -> bool | None:
    statement = sa.select(_TABLE.c.value_json).where(
        _TABLE.c.study_id == study_id, _TABLE.c.key == _ATTRIBUTE
    )
    text = conn.execute(statement).scalar()
    return None if text is None else bool(json.loads(text))


def _store(conn: sa.Connection, study_id: int, *, value: bool) -> None:
    study_rows.put_attr(conn, _TABLE, study_id, _ATTRIBUTE, value)
