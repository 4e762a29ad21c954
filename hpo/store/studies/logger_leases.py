"""Logger leases: of several processes that log a study to one place, one does at a time.

A lease is an attribute of the study that Optuna keeps. It says who logs, and not where: the place
is a digest. A process that is gone loses its lease at once on its own machine, and after a minute
of silence elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import processes, study_rows

GRACE_S: Final = 60.0
_TABLE: Final = optuna_tables.study_system_attributes
_PREFIX: Final = "hpo:logger:"
_DIGITS: Final = 16


def acquire(db: Database, study_id: int, place: str) -> bool:
    """Takes or renews this process's lease of a place; returns whether it has it now.

    Args:
        db: The database.
        study_id: The study.
        place: What tells the place from all others, on all machines.

    Raises:
        StoreError: The database is away, or the study is deleted.
    """
    key = _PREFIX + hashlib.sha256(place.encode()).hexdigest()[:_DIGITS]
    return db.transaction(partial(_acquire, db, study_id, key))


def release(db: Database, study_id: int, place: str) -> None:
    """Gives up this process's lease."""
    key = _PREFIX + hashlib.sha256(place.encode()).hexdigest()[:_DIGITS]

    def work(conn: sa.Connection) -> None:
        LockedStudy.lock(db, conn, study_id)
        if _is_mine(_read(conn, study_id, key)):
            study_rows.put_attr(conn, _TABLE, study_id, key, {})

    db.transaction(work)


def _acquire(db: Database, study_id: int, key: str, conn: sa.Connection) -> bool:
    now = LockedStudy.lock(db, conn, study_id).now
    held = _read(conn, study_id, key)
    if not _is_mine(held) and _is_live(held, now):
        return False
    pid = os.getpid()
    mine = {
        "machine": processes.machine(),
        "pid": pid,
        "pid_started_at": processes.started_at(pid) or 0.0,
        "at": now.isoformat(),
    }
    study_rows.put_attr(conn, _TABLE, study_id, key, mine)
    return True


def _read(conn: sa.Connection, study_id: int, key: str) -> dict[str, Any]:
    column = _TABLE.c
    statement = sa.select(column.value_json).where(column.study_id == study_id, column.key == key)
    text = conn.scalar(statement)
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_mine(held: dict[str, Any]) -> bool:
    return held.get("machine") == processes.machine() and held.get("pid") == os.getpid()


def _is_live(held: dict[str, Any], now: datetime) -> bool:
    try:
        silent = now - datetime.fromisoformat(held["at"])
        if held["machine"] == processes.machine() and processes.is_dead(
            int(held["pid"]), float(held["pid_started_at"])
        ):
            return False
    except (KeyError, TypeError, ValueError):
        # Of no process that could log.
        return False
    return silent < timedelta(seconds=GRACE_S)
