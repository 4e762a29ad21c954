"""Workers: registered with a study, alive by their heartbeats, retired."""

from __future__ import annotations

import json
import os
import platform
import socket
from datetime import datetime
from functools import lru_cache
from importlib import metadata

import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease, hpo_worker
from hpo.store.ledger import reaping
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.ledger.reaping import ReapingPolicy
from hpo.store.rows import last_ids, processes

_PACKAGES = ("hpo", "torch", "optuna", "sqlalchemy")


def register(db: Database, study_id: int, device: str) -> int:
    """Registers this process as a worker of a study and returns its ``worker_id``.

    Raises:
        StoreError: There is no such study.
    """
    pid = os.getpid()
    row = {
        "study_id": study_id,
        "host": socket.gethostname(),
        "machine": processes.machine(),
        "pid": pid,
        "pid_started_at": processes.started_at(pid) or 0.0,
        "device": device,
        "versions": json.dumps(_versions()),
    }

    def enter(conn: sa.Connection) -> int:
        now = LockedStudy.lock(db, conn, study_id).now
        times = {"started_at": now, "heartbeat_at": now, "heard_since": now}
        above = last_ids.above(conn, hpo_worker.c.worker_id)
        own = {} if above is None else {"worker_id": above + 1}
        entry = sa.insert(hpo_worker).values(**row, **times, **own)
        key = conn.execute(entry).inserted_primary_key
        assert key is not None
        return int(key[0])

    return db.transaction(enter)


def mark_alive(conn: sa.Connection, worker_id: int, now: datetime, policy: ReapingPolicy) -> bool:
    """Records that a worker lives; False when it is not known, or has ended."""
    worker = hpo_worker.c
    statement = (
        sa.update(hpo_worker)
        .where(worker.worker_id == worker_id, worker.ended_at.is_(None))
        .ordered_values(*reaping.heard(now, policy))
    )
    return conn.execute(statement).rowcount > 0


def retire(db: Database, worker_id: int, *, lost: bool = False) -> None:
    """Ends a worker and releases its trials. Repeating it is harmless.

    Args:
        db: The database.
        worker_id: The worker; an unknown one is ignored.
        lost: It died. The loss counts as an attempt of its trials, which fail after too many.
    """

    def leave(conn: sa.Connection) -> None:
        worker = hpo_worker.c
        of_worker = sa.select(worker.study_id).where(worker.worker_id == worker_id)
        study_id = conn.execute(of_worker).scalar_one_or_none()
        if study_id is None:
            return
        locked = LockedStudy.lock(db, conn, study_id)
        conn.execute(
            sa.update(hpo_worker)
            .where(worker.worker_id == worker_id, worker.ended_at.is_(None))
            .values(ended_at=locked.now)
        )
        if lost:
            reaping.release_dead(locked, ReapingPolicy())
            return
        reaping.release(locked, hpo_lease.c.worker_id == worker_id)
        if locked.state == "done":
            locked.prune_unowned_trials()

    db.transaction(leave)


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
