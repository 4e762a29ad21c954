"""Lease cache: the leases of one study, read again only where something has moved.

A paused trial is a RUNNING one for Optuna, with a lease that has no owner. A worker that continues
it writes its lease, so a trial whose lease is unchanged is unchanged, too.

One row shows whether anything has moved: how many leases there are, and the sums of their
columns. If it differs, the leases are read that were written since, with a margin for transactions
that were open meanwhile; leases that ended are found by their trials. If the sums are not right
then, all leases are read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger.leases import LeaseStatus

MARGIN_S = 60.0
"""Seconds that a transaction may last after it has read the clock. A longer one costs a read of all
leases."""

_L = hpo_lease.c
_COLUMNS = (_L.trial_id, _L.worker_id, _L.token, _L.epoch, _L.epoch_stop, _L.updated_at)
_OF_STUDY = _L.study_id == sa.bindparam("study")
_SUMS = sa.select(
    sa.func.count().label("trial_id"),
    sa.func.count(_L.worker_id).label("worker_id"),
    *(sa.func.coalesce(sa.func.sum(column), 0).label(column.name) for column in _COLUMNS[2:5]),
    sa.func.max(_L.updated_at).label("updated_at"),
).where(_OF_STUDY)
_ALL = sa.select(*_COLUMNS).where(_OF_STUDY)
_SINCE = _ALL.where(_L.updated_at >= sa.bindparam("since"))
# In one statement, which sees one state of the database.
_SUMS_AND_SINCE = sa.union_all(
    _SUMS.add_columns(sa.literal_column("1").label("is_sum")),
    _SINCE.add_columns(sa.literal_column("0").label("is_sum")),
)
_ENDED = sa.select(trials.c.trial_id).where(
    trials.c.study_id == sa.bindparam("study"),
    trials.c.state.in_((TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)),
    trials.c.datetime_complete >= sa.bindparam("since"),
)


class _Row(NamedTuple):
    """The columns of a lease, or the sums over all leases."""

    n_or_id: int
    worker: int | None
    token: int
    epoch: int
    epoch_stop: int
    updated_at: datetime | None

    @classmethod
    def of(cls, row: Any) -> _Row:
        # Sums are decimals on some databases.
        n_or_id, worker, token, epoch, epoch_stop, updated_at, *_ = row
        worker = None if worker is None else int(worker)
        return cls(int(n_or_id), worker, int(token), int(epoch), int(epoch_stop), updated_at)


class LeaseCache:
    """The leases of one study; not for several threads.

    Args:
        study_id: The study.

    Attributes:
        statuses: The lease of each unfinished trial, by trial_id; a new mapping after a change.
    """

    def __init__(self, study_id: int) -> None:
        self._study_id = study_id
        self._rows: dict[int, _Row] = {}
        self._seen: _Row | None = None
        self._latest: datetime | None = None
        self.statuses: Mapping[int, LeaseStatus] = {}

    def is_paused(self, trial_id: int) -> bool:
        """Returns whether a trial has a lease without an owner."""
        status = self.statuses.get(trial_id)
        return status is not None and not status.is_held

    def refresh(self, connection: sa.Connection) -> set[int]:
        """Reads what has moved, and returns the trial_ids of new, changed and ended leases."""
        sums = _Row.of(connection.execute(_SUMS, {"study": self._study_id}).one())
        if sums == self._seen:
            return set()
        moved = self._read_since(connection)
        if self._seen is None:
            moved |= self._read_all(connection)
        if moved:
            self.statuses = {
                trial_id: LeaseStatus(row.worker is not None, row.epoch, row.epoch_stop)
                for trial_id, row in self._rows.items()
            }
        return moved

    def _read_since(self, connection: sa.Connection) -> set[int]:
        if self._latest is None:
            # No lease was read yet.
            self._seen = None
            return set()
        at = {"study": self._study_id, "since": self._latest - timedelta(seconds=MARGIN_S)}
        found = connection.execute(_SUMS_AND_SINCE, at).all()
        self._seen = next(_Row.of(row) for row in found if row.is_sum)
        moved = self._take(_Row.of(row) for row in found if not row.is_sum)
        if not self._is_right():
            ended = self._rows.keys() & set(connection.scalars(_ENDED, at))
            moved |= ended
            for trial_id in ended:
                del self._rows[trial_id]
        if not self._is_right():
            self._seen = None
        return moved

    def _read_all(self, connection: sa.Connection) -> set[int]:
        rows = connection.execute(_ALL, {"study": self._study_id}).all()
        gone = self._rows.keys() - {row.trial_id for row in rows}
        moved = gone | self._take(map(_Row.of, rows))
        for trial_id in gone:
            del self._rows[trial_id]
        self._seen = self._sums()
        return moved

    def _take(self, rows: Iterable[_Row]) -> set[int]:
        changed = [row for row in rows if self._rows.get(row.n_or_id) != row]
        self._rows.update((row.n_or_id, row) for row in changed)
        times = [row.updated_at for row in changed if row.updated_at is not None]
        self._latest = max([*times, *([self._latest] if self._latest else [])], default=None)
        return {row.n_or_id for row in changed}

    def _is_right(self) -> bool:
        return self._seen is not None and self._sums()[:5] == self._seen[:5]

    def _sums(self) -> _Row:
        rows = self._rows.values()
        return _Row(
            len(rows),
            sum(row.worker is not None for row in rows),
            sum(row.token for row in rows),
            sum(row.epoch for row in rows),
            sum(row.epoch_stop for row in rows),
            max((row.updated_at for row in rows if row.updated_at is not None), default=None),
        )
