"""A turn at a study: its row locked, the database's time read, its trials ended or set free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.errors import StoreError
from hpo.store import events, optuna_tables, sql, trial_rows
from hpo.store.budgets import Limits
from hpo.store.database import Database
from hpo.store.events import Event
from hpo.store.tables import hpo_lease, hpo_study

FREE = 0
"""The token of a lease that nobody owns; no grant ever has it."""


@dataclass
class Turn:
    """What the holder of a study's lock works with; valid within the transaction only.

    Attributes:
        conn: The transaction.
        study_id: The study.
        now: The database's clock, read after the lock was had.
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
    def take(cls, db: Database, conn: sa.Connection, study_id: int) -> Turn:
        """Locks the study, in our table and in Optuna's, until the transaction ends.

        Whoever locks a study and leases takes the study first.

        Raises:
            StoreError: There is no such study; somebody may have deleted it.
        """
        return cls._of(db, conn, study_id, is_locked=True)

    @classmethod
    def glance(cls, db: Database, conn: sa.Connection, study_id: int) -> Turn:
        """Reads the study without a lock, for who changes nothing.

        Raises:
            StoreError: There is no such study; somebody may have deleted it.
        """
        return cls._of(db, conn, study_id, is_locked=False)

    @classmethod
    def _of(cls, db: Database, conn: sa.Connection, study_id: int, *, is_locked: bool) -> Turn:
        study = hpo_study.c
        statement = sa.select(hpo_study).where(study.study_id == study_id)
        row = conn.execute(statement.with_for_update() if is_locked else statement).one_or_none()
        if row is None or (is_locked and not trial_rows.lock_study(conn, study_id)):
            raise StoreError(f"study {study_id} is no longer in {db.masked_url}; was it deleted?")
        return cls(
            conn=conn,
            study_id=study_id,
            now=db.now(conn),
            state=row.state,
            reason=row.reason,
            limits=Limits(**{limit.name: getattr(row, limit.name) for limit in fields(Limits)}),
            epochs_spent=row.epochs_spent,
            last_token=row.last_token,
        )

    def finish_study(self, reason: str) -> None:
        """Marks the study done; running trials learn of it by their worker's next heartbeat."""
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
        """Adds events at the time of this turn."""
        events.record(self.conn, found, self.now)

    def end_trials(
        self, epochs_of: Mapping[int, int], state: TrialState, pairs: Sequence[sql.Pair]
    ) -> None:
        """Ends trials whose leases are in force, and removes the leases.

        Args:
            epochs_of: Epochs that each trial has spent, by trial_id; the caller has locked them.
            state: COMPLETE, PRUNED or FAIL.
            pairs: (trial_id, token) of each.
        """
        for part in sql.chunks(sorted(pairs)):
            owned = sa.select(hpo_lease.c.trial_id).where(sql.fence(part))
            self.conn.execute(_end_statement(state, self.now, owned))
            self.conn.execute(sa.delete(hpo_lease).where(sql.fence(part)))
        self.epochs_spent += sum(epochs_of.values())
        self.update_study(epochs_spent=self.epochs_spent)

    def end_free_trials(self) -> list[int]:
        """Prunes the trials that nobody works on: the study is done, nobody ever will.

        Their value is the last one that they reported, as Optuna's pruned trials have it.

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
        pairs = [(row.trial_id, row.token) for row in found]
        trial_rows.write_rows(self.conn, trial_rows.VALUES, _last_values(self.conn, sql.ids(found)))
        self.end_trials({row.trial_id: row.epoch for row in found}, TrialState.PRUNED, pairs)
        kind, text = self.reason or "done", f"the study ended: {self.reason or 'done'}"
        # One that had come to where it should is a loser of the search, as others are.
        kinds = ["pruned" if 0 < row.epoch_stop <= row.epoch else kind for row in found]
        self.record(
            [
                Event(self.study_id, kind, text, row.trial_id)
                for kind, row in zip(kinds, found, strict=True)
            ]
        )
        return sql.ids(found)

    def update_study(self, **values: object) -> None:
        """Sets columns of the study's row."""
        self.conn.execute(
            sa.update(hpo_study).where(hpo_study.c.study_id == self.study_id).values(**values)
        )


def _last_values(conn: sa.Connection, trial_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Returns rows of ``trial_values`` with the last finite value that each trial reported."""
    column = optuna_tables.trial_intermediate_values.c
    rows: list[dict[str, Any]] = []
    for part in sql.chunks(trial_ids):
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


def _end_statement(state: TrialState, now: datetime, trial_ids: sa.Select[tuple[int]]) -> sa.Update:
    trials = optuna_tables.trials
    return (
        sa.update(trials)
        .where(trials.c.trial_id.in_(trial_ids), trials.c.state == TrialState.RUNNING)
        .values(state=state, datetime_complete=now)
    )
