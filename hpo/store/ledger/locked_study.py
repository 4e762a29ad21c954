"""Locked study: a study whose row is locked, with the database's time, and what changes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.errors import StoreError
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease, hpo_study
from hpo.store.ledger import fences
from hpo.store.ledger.budgets import Limits
from hpo.store.rows import events, trial_rows
from hpo.store.rows.events import Event

UNOWNED_TOKEN = 0
"""The token of a lease without an owner; no grant ever has it."""


@dataclass
class LockedStudy:
    """A study's row, locked until the transaction ends, and valid no longer.

    Attributes:
        conn: The transaction.
        study_id: The study.
        now: The database's clock, read after the row was locked.
        state: active, paused, stopped or done.
        reason: Why the study is in this state.
        limits: Its budgets.
        epochs_spent: Epochs of trials that ended.
        last_token: The last token granted.
    """

    conn: sa.Connection
    study_id: int
    now: datetime
    state: str
    reason: str | None
    limits: Limits
    epochs_spent: int
    last_token: int

    @classmethod
    def lock(cls, db: Database, conn: sa.Connection, study_id: int) -> LockedStudy:
        """Locks the study, in our table and in Optuna's, until the transaction ends.

        A transaction that locks a study and leases locks the study first.

        Raises:
            StoreError: There is no such study; it may have been deleted.
        """
        found = cls._of(db, conn, _study(db.dialect, is_locked=True), {"study_id": study_id})
        return cls._only(found, db, study_id)

    @classmethod
    def lock_those_of_trials(
        cls, db: Database, conn: sa.Connection, trial_ids: Sequence[int]
    ) -> list[LockedStudy]:
        """Locks the studies of leased trials, as `lock` does, in the order of their ids."""
        found: dict[int, LockedStudy] = {}
        for part in fences.chunks(trial_ids):
            some = cls._of(db, conn, _studies_of_trials(db.dialect), {"ids": part})
            found |= {locked.study_id: locked for locked in some}
        return [found[study_id] for study_id in sorted(found)]

    @classmethod
    def unlocked(cls, db: Database, conn: sa.Connection, study_id: int) -> LockedStudy:
        """Reads the study without a lock, for a caller that changes nothing.

        Raises:
            StoreError: There is no such study; it may have been deleted.
        """
        found = cls._of(db, conn, _study(db.dialect, is_locked=False), {"study_id": study_id})
        return cls._only(found, db, study_id)

    @classmethod
    def _only(cls, found: Sequence[LockedStudy], db: Database, study_id: int) -> LockedStudy:
        if not found:
            raise StoreError(f"study {study_id} is no longer in {db.masked_url}; was it deleted?")
        return found[0]

    @classmethod
    def _of(
        cls, db: Database, conn: sa.Connection, statement: sa.Select[Any], which: dict[str, Any]
    ) -> list[LockedStudy]:
        rows = conn.execute(statement, which).all()
        if not rows:
            return []
        now = rows[0].now + db.clock_offset if db.dialect == "postgresql" else db.now(conn)
        return [
            cls(
                conn=conn,
                study_id=row.study_id,
                now=now,
                state=row.state,
                reason=row.reason,
                limits=Limits(**{name: getattr(row, name) for name in _LIMITS}),
                epochs_spent=row.epochs_spent,
                last_token=row.last_token,
            )
            for row in rows
        ]

    def finish_study(self, reason: str) -> None:
        """Marks the study done; workers learn of it by their next heartbeat."""
        self.state, self.reason = "done", reason
        self.update_study(state="done", reason=reason, updated_at=self.now)
        self.record([Event(self.study_id, "done", reason)])

    def next_tokens(self, n: int) -> list[int]:
        """Returns ``n`` tokens that were never granted before, by any study."""
        first = self.last_token + 1
        self.last_token += n
        self.update_study(last_token=self.last_token)
        return list(range(first, first + n))

    def record(self, found: Sequence[Event]) -> None:
        """Records events at the time `now`."""
        events.record(self.conn, found, self.now)

    def end_trials(self, epochs_of: Mapping[int, int], state: TrialState) -> None:
        """Ends trials, and removes their leases.

        Args:
            epochs_of: Epochs that each trial has spent, by trial_id. The caller has locked the
                leases, or read them under the study's lock.
            state: COMPLETE, PRUNED or FAIL.
        """
        running = (TrialState.RUNNING,)
        for part in fences.chunks(sorted(epochs_of)):
            trial_rows.change_state(self.conn, part, state, self.now, only_from=running)
            self.conn.execute(_DELETE_LEASES, {"ids": part})
        self.epochs_spent += sum(epochs_of.values())
        self.update_study(epochs_spent=self.epochs_spent)

    def prune_unowned_trials(self) -> list[int]:
        """Prunes the trials without an owner, as the study is done.

        Their value is the last one that they reported, as with Optuna's pruned trials.

        Returns:
            Their ids.
        """
        lease = hpo_lease.c
        statement = (
            sa.select(lease.trial_id, lease.epoch, lease.token, lease.epoch_stop)
            .where(lease.study_id == self.study_id, lease.worker_id.is_(None))
            .order_by(lease.trial_id)
            .with_for_update()
        )
        found = self.conn.execute(statement).all()
        if not found:
            return []
        trial_rows.write_rows(
            self.conn, trial_rows.VALUES, _last_values(self.conn, fences.ids(found))
        )
        self.end_trials({row.trial_id: row.epoch for row in found}, TrialState.PRUNED)
        kind, text = self.reason or "done", f"the study ended: {self.reason or 'done'}"
        # A trial that has reached its `epoch_stop` was paused by the search, not interrupted.
        kinds = ["pruned" if 0 < row.epoch_stop <= row.epoch else kind for row in found]
        self.record(
            [
                Event(self.study_id, kind, text, row.trial_id)
                for kind, row in zip(kinds, found, strict=True)
            ]
        )
        return fences.ids(found)

    def update_study(self, **values: object) -> None:
        """Sets columns of the study's row."""
        given = {f"new_{name}": value for name, value in values.items()}
        self.conn.execute(_update_study(tuple(values)), {"study": self.study_id, **given})


_LIMITS = tuple(limit.name for limit in fields(Limits))
_COLUMNS = ("study_id", "state", "reason", *_LIMITS, "epochs_spent", "last_token")
_DELETE_LEASES = sa.delete(hpo_lease).where(
    hpo_lease.c.trial_id.in_(sa.bindparam("ids", expanding=True))
)


@lru_cache(maxsize=8)
def _study(dialect: str, *, is_locked: bool) -> sa.Select[Any]:
    """Returns the SELECT of one study, with the columns that decisions need."""
    row = _rows().where(hpo_study.c.study_id == sa.bindparam("study_id"))
    return _with_time(row.with_for_update() if is_locked else row, dialect)


@lru_cache(maxsize=4)
def _studies_of_trials(dialect: str) -> sa.Select[Any]:
    """Returns the SELECT of the studies of leased trials; the leases themselves are not locked."""
    lease, study_id = hpo_lease.c, hpo_study.c.study_id
    of_trials = lease.trial_id.in_(sa.bindparam("ids", expanding=True))
    rows = _rows().where(study_id.in_(sa.select(lease.study_id).where(of_trials)))
    return _with_time(rows.order_by(study_id).with_for_update(), dialect)


def _rows() -> sa.Select[Any]:
    studies = optuna_tables.studies
    on = studies.c.study_id == hpo_study.c.study_id
    return sa.select(*(hpo_study.c[name] for name in _COLUMNS)).join(studies, on)


def _with_time(rows: sa.Select[Any], dialect: str) -> sa.Select[Any]:
    if dialect != "postgresql":
        return rows
    # Outside the subquery that locks: the clock is read after the row was locked.
    found = rows.subquery("found")
    clock = sa.literal_column("clock_timestamp() AT TIME ZONE 'UTC'", hpo_study.c.created_at.type)
    return sa.select(found, clock.label("now"))


@lru_cache(maxsize=32)
def _update_study(names: tuple[str, ...]) -> sa.Update:
    new = {name: sa.bindparam(f"new_{name}", type_=hpo_study.c[name].type) for name in names}
    return sa.update(hpo_study).where(hpo_study.c.study_id == sa.bindparam("study")).values(new)


def _last_values(conn: sa.Connection, trial_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Returns rows of ``trial_values`` with the last finite value that each trial reported."""
    column = optuna_tables.trial_intermediate_values.c
    rows: list[dict[str, Any]] = []
    for part in fences.chunks(trial_ids):
        last = (
            sa.select(column.trial_id, sa.func.max(column.step).label("step"))
            .where(column.trial_id.in_(part))
            .group_by(column.trial_id)
            .subquery()
        )
        statement = sa.select(
            column.trial_id, column.intermediate_value, column.intermediate_value_type
        ).join(last, sa.and_(column.trial_id == last.c.trial_id, column.step == last.c.step))
        for trial_id, number, kind in conn.execute(statement):
            value = optuna_tables.row_to_intermediate(number, kind)
            if math.isfinite(value):
                rows += trial_rows.value_rows(trial_id, [value])
    return rows
