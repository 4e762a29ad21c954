"""Ledger: who trains which trial. Each verb is one short transaction, safe to repeat.

The database is the only coordinator. Budgets are exact because every claim holds the study's row
locked (`claims`). No stale worker writes anything, because every row that it hands in carries its
lease's token, and is written only while that token is in force (`settlement`). The trials of a
dead worker are continued, because any other worker may take them over (`reaping`). Time is the
database's. The transactions are opened here, but for those of a report (`epoch_reports`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease, hpo_study, hpo_worker
from hpo.store.ledger import (
    budgets,
    claims,
    epoch_reports,
    fences,
    reaping,
    settlement,
    spending,
    unfinished_trials,
    workers,
)
from hpo.store.ledger.leases import (
    AssignmentRequests,
    Claim,
    EpochRow,
    Lease,
    LeaseStatus,
    Outcome,
    Renewal,
    StudyStatus,
)
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.ledger.reaping import ReapingPolicy
from hpo.store.ledger.unfinished_trials import ClaimRequest

_GONE = Renewal(state="gone", ending="gone", held=frozenset())


class Ledger:
    """The verbs claim, renew, report, settle and reap.

    It holds nothing but its settings, so threads may share it. Every verb raises StoreError when
    the database fails; `Database.is_outage` says whether calling again may help.

    Args:
        db: The database.
        grace_s: Silence, in seconds by the database's clock, after which a worker is taken for
            dead, if another one was heard all that time. Several heartbeats long; by default
            ``$HPO_GRACE_S``, else 60.
        max_attempts: Workers in a row that a trial may lose without a new epoch before it fails.
    """

    def __init__(
        self, db: Database, *, grace_s: float | None = None, max_attempts: int = 3
    ) -> None:
        self._db = db
        silence_s = reaping.default_grace_s() if grace_s is None else grace_s
        self._policy = ReapingPolicy(silence_s, max_attempts)

    @property
    def grace_s(self) -> float:
        """Silence after which a worker is taken for dead, in seconds."""
        return self._policy.grace_s

    def claim(
        self,
        study_id: int,
        worker_id: int,
        n: int,
        held: Collection[int] = (),
        assignments: AssignmentRequests | None = None,
    ) -> Claim:
        """Takes up to ``n`` trials: lost ones first, then enqueued ones, then new ones.

        In this order: trials that this worker owns without knowing (the response to its last claim
        was lost; they get new tokens), trials that were interrupted or whose worker died, Optuna's
        WAITING trials, new trials. A claim counts as a heartbeat, and reaps. When the budget is
        spent, the study is marked done in the same transaction, and its paused trials are pruned.

        Args:
            study_id: The study.
            worker_id: As `workers.register` gave it.
            n: How many trials, beside those it holds.
            held: The trial_ids that the worker works on now.
            assignments: What the worker asks for, in a study whose trials pause. They are granted
                after the lost and the enqueued trials, in their order, as far as the budgets allow
                and the trials still are where the worker believes. Trials that it holds and asks
                to continue count among the ``n``, and keep their token. Without assignments every
                trial trains to its last epoch.

        Raises:
            StoreError: The study or the worker is not known.
        """
        request = ClaimRequest(worker_id, n, frozenset(held), assignments)

        def work(conn: sa.Connection) -> Claim:
            locked = LockedStudy.lock(self._db, conn, study_id)
            return claims.grant(locked, request, self._policy)

        return self._db.transaction(work)

    def renew(self, worker_id: int, checkpoints: Mapping[int, str] | None = None) -> Renewal:
        """Records a worker's heartbeat, and returns what the worker should know of its study.

        Args:
            worker_id: The worker.
            checkpoints: The latest checkpoint of each of its trials, by trial_id; trials whose
                lease it has lost are ignored.
        """

        def work(conn: sa.Connection) -> Renewal:
            now = self._db.now(conn)
            if not workers.mark_alive(conn, worker_id, now, self._policy):
                return _GONE
            lease, study = hpo_lease.c, hpo_study.c
            for part in fences.chunks(sorted((checkpoints or {}).items())):
                paths = dict(part)
                conn.execute(
                    sa.update(hpo_lease)
                    .where(lease.worker_id == worker_id, lease.trial_id.in_(sorted(paths)))
                    .values(checkpoint=fences.by_trial(lease.checkpoint, paths), updated_at=now)
                )
            held = conn.scalars(sa.select(lease.trial_id).where(lease.worker_id == worker_id))
            of_worker = (
                sa.select(
                    study.state,
                    study.reason,
                    study.deadline_at,
                    study.trial_hours,
                    study.patience,
                    study.target,
                )
                .join(hpo_worker, hpo_worker.c.study_id == study.study_id)
                .where(hpo_worker.c.worker_id == worker_id)
            )
            row = conn.execute(of_worker).one_or_none()
            if row is None:
                return _GONE
            late = row.deadline_at is not None and now >= row.deadline_at
            ending = "deadline" if late and row.state == "active" else ""
            if row.state in ("stopped", "done"):
                ending = "stopped" if row.state == "stopped" else row.reason or "done"
            trial_s = budgets.trial_s(row.trial_hours)
            return Renewal(row.state, ending, frozenset(held), trial_s, row.patience, row.target)

        return self._db.transaction(work)

    def study_status(self, study_id: int, *, with_leases: bool = True) -> StudyStatus:
        """Returns what a study may still spend, and the leases of its unfinished trials.

        Args:
            study_id: The study.
            with_leases: False leaves the leases empty, for a caller that has them from
                `Storage.changes`.

        Raises:
            StoreError: There is no such study.
        """
        with self._db.read() as conn:
            # The token is read first: if it is the same later, nothing was granted meanwhile.
            locked = LockedStudy.unlocked(self._db, conn, study_id)
            lease, limits = hpo_lease.c, locked.limits
            n_new = None
            if limits.n_trials is not None:
                n_new = max(0, limits.n_trials - unfinished_trials.n_started(locked))
            wanted = sa.select(lease.trial_id, lease.worker_id, lease.epoch, lease.epoch_stop)
            rows = conn.execute(wanted.where(lease.study_id == study_id)) if with_leases else ()
            leases = {
                row.trial_id: LeaseStatus(row.worker_id is not None, row.epoch, row.epoch_stop)
                for row in rows
            }
            left = unfinished_trials.epochs_left(locked)
            time_left = unfinished_trials.time_left(locked)
        return StudyStatus(locked.last_token, limits.epochs, n_new, left, leases, *time_left)

    def in_force(self, leases: Collection[Lease]) -> set[int]:
        """Returns the trial_ids of the leases that are still in force."""
        if not leases:
            return set()
        lease, found = hpo_lease.c, set[int]()
        with self._db.read() as conn:
            for part in fences.chunks(sorted((one.trial_id, one.token) for one in leases)):
                found |= set(conn.scalars(sa.select(lease.trial_id).where(fences.fence(part))))
        return found

    def open_numbers(self, study_id: int) -> set[int]:
        """Returns the numbers of the study's trials that have a lease, with or without an owner."""
        trials = optuna_tables.trials.c
        statement = (
            sa.select(trials.number)
            .join(hpo_lease, hpo_lease.c.trial_id == trials.trial_id)
            .where(hpo_lease.c.study_id == study_id)
        )
        with self._db.read() as conn:
            return set(conn.scalars(statement))

    def report(self, rows: Sequence[EpochRow]) -> set[int]:
        """Writes epochs of any number of trials, into hpo's table and Optuna's.

        An epoch that reaches the study's target ends the study, in the same transaction. Repeating
        a report is harmless: the first report of an epoch stays. The number of statements does not
        depend on the number of trials.

        Returns:
            The trial_ids whose lease is lost; nothing was written for them.
        """
        return epoch_reports.report(self._db, rows)

    def finish_if_reported(self, study_id: int) -> bool:
        """Ends a study whose target was reported by other means than `report`.

        Returns:
            Whether the study is over because of its target.

        Raises:
            StoreError: There is no such study.
        """

        def work(conn: sa.Connection) -> bool:
            locked = LockedStudy.lock(self._db, conn, study_id)
            spending.finish_if_target_reached(locked, reported=True)
            if locked.state == "done":
                locked.prune_unowned_trials()
            return (locked.state, locked.reason) == ("done", "target")

        return self._db.transaction(work)

    def settle(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Hands trials back with their outcomes: state, values, user attributes, event.

        A lease ends with its settlement. Settling it again changes nothing, and answers that the
        lease is lost. NaN is no value: a complete trial with one fails, with the reason nan. An
        interruption does not count as an attempt.

        Returns:
            The trial_ids whose lease is lost; nothing was written for them.
        """
        if not outcomes:
            return set()
        return self._db.transaction(lambda conn: settlement.settle(self._db, conn, outcomes))

    def reap(self, study_id: int) -> list[int]:
        """Releases the trials of dead workers, so that they can be claimed again.

        A worker is dead if it was silent for ``grace_s`` while another one was heard all the time,
        if it has ended, or if its process on this machine is gone, which needs neither grace nor
        witness. A trial that was lost ``max_attempts`` times in a row without a new epoch fails. Of
        two processes that reap at the same time, one finds nothing. Reaping also notices a target
        that was reached by a trial which another program has completed.

        Returns:
            The trial_ids released, ascending.

        Raises:
            StoreError: There is no such study.
        """

        def work(conn: sa.Connection) -> list[int]:
            locked = LockedStudy.lock(self._db, conn, study_id)
            released = reaping.release_dead(locked, self._policy)
            claims.drop_ended_elsewhere(locked)
            spending.finish_if_target_reached(locked)
            if locked.state == "done":
                locked.prune_unowned_trials()
            return released

        return self._db.transaction(work)
