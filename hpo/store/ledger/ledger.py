"""The ledger: who works on which trial. Each verb is one short transaction, safe to repeat.

The database is the only coordinator. Budgets are exact because every claim holds the study's row
locked (`claims`); no stale worker writes anything because every row it hands in carries its
lease's token, and is written only while that token is in force (`settlement`); a dead worker's
trials go on because any other worker may take them over (`reaping`). Time is the database's.
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
from hpo.store.ledger.reaping import Patience
from hpo.store.ledger.unfinished_trials import Request

_GONE = Renewal(state="gone", ending="gone", held=frozenset())


class Ledger:
    """Claim, renew, report, settle, reap. Holds nothing but its settings; threads may share it.

    Every verb raises StoreError when the database fails; `Database.is_outage` tells whether
    calling again may help.

    Args:
        db: The database.
        grace_s: Silence, in seconds by the database's clock, after which a worker is taken for
            dead, if another one was heard all that time. Several heartbeats long; by default
            ``$HPO_GRACE_S``, else 60.
        max_attempts: Workers that a trial may lose before it fails.
    """

    def __init__(
        self, db: Database, *, grace_s: float | None = None, max_attempts: int = 3
    ) -> None:
        self._db = db
        usual_s = reaping.usual_grace_s() if grace_s is None else grace_s
        self._patience = Patience(usual_s, max_attempts)

    @property
    def grace_s(self) -> float:
        """Silence after which a worker is taken for dead, in seconds."""
        return self._patience.grace_s

    def claim(
        self,
        study_id: int,
        worker_id: int,
        n: int,
        held: Collection[int] = (),
        wishes: AssignmentRequests | None = None,
    ) -> Claim:
        """Takes up to ``n`` trials: lost ones first, then enqueued ones, then new ones.

        In this order: what this worker owns without knowing (the answer to its last claim was
        lost; it gets new tokens), trials that were interrupted or whose worker died, Optuna's
        WAITING trials, new trials. It counts as a heartbeat and reaps. When all is spent, the
        study is marked done in the same transaction, and what is left of it is pruned.

        Args:
            study_id: The study.
            worker_id: As `workers.register` gave it.
            n: How many trials, beside those it holds.
            held: The trial_ids that the worker works on now.
            wishes: For a study whose trials pause: after the lost and the enqueued ones these are
                granted, in their order, as far as budgets go and the trials still are where the
                worker believes. Trials that it holds and wishes to go on with count among the
                ``n``, and keep their token. Without wishes every trial is to be trained to its
                last epoch.

        Raises:
            StoreError: The study or the worker is not known.
        """
        request = Request(worker_id, n, frozenset(held), wishes)
        return claims.claim(self._db, study_id, request, self._patience)

    def renew(self, worker_id: int, checkpoints: Mapping[int, str] | None = None) -> Renewal:
        """Tells that the worker lives, and asks whether its trials should go on.

        Args:
            worker_id: The worker.
            checkpoints: Where to continue each of its trials from, by trial_id; those whose
                lease it has lost are passed over.
        """

        def work(conn: sa.Connection) -> Renewal:
            now = self._db.now(conn)
            if not workers.mark_alive(conn, worker_id, now, self._patience):
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
        """Returns what a study may still spend, and where its unfinished trials stand.

        Args:
            study_id: The study.
            with_leases: False leaves the places empty, for who has them from `Storage.changes`.

        Raises:
            StoreError: There is no such study.
        """
        with self._db.read() as conn:
            # The token is read first: if it is the same later, nothing was granted since.
            locked = LockedStudy.glance(self._db, conn, study_id)
            lease, limits = hpo_lease.c, locked.limits
            n_new = None
            if limits.n_trials is not None:
                n_new = max(0, limits.n_trials - unfinished_trials.n_started(locked))
            wanted = sa.select(lease.trial_id, lease.worker_id, lease.epoch, lease.epoch_stop)
            rows = conn.execute(wanted.where(lease.study_id == study_id)) if with_leases else ()
            places = {
                row.trial_id: LeaseStatus(row.worker_id is not None, row.epoch, row.epoch_stop)
                for row in rows
            }
            left = unfinished_trials.epochs_left(locked)
            time_left = unfinished_trials.time_left(locked)
        return StudyStatus(locked.last_token, limits.epochs, n_new, left, places, *time_left)

    def in_force(self, leases: Collection[Lease]) -> set[int]:
        """Returns the trial_ids of those leases that their worker still has."""
        if not leases:
            return set()
        lease, found = hpo_lease.c, set[int]()
        with self._db.read() as conn:
            for part in fences.chunks(sorted((one.trial_id, one.token) for one in leases)):
                found |= set(conn.scalars(sa.select(lease.trial_id).where(fences.fence(part))))
        return found

    def open_numbers(self, study_id: int) -> set[int]:
        """Returns the numbers of the trials that are leased or free to be continued."""
        trials = optuna_tables.trials.c
        statement = (
            sa.select(trials.number)
            .join(hpo_lease, hpo_lease.c.trial_id == trials.trial_id)
            .where(hpo_lease.c.study_id == study_id)
        )
        with self._db.read() as conn:
            return set(conn.scalars(statement))

    def report(self, rows: Sequence[EpochRow]) -> set[int]:
        """Writes epochs of any number of trials, into our table and Optuna's, all at once.

        One that reaches the study's target ends the study, in the same transaction.

        Repeating it is harmless: what was reported first for an epoch stays. The number of
        statements does not depend on the number of trials.

        Returns:
            The trial_ids whose lease is lost; nothing was written for them.
        """
        return epoch_reports.report(self._db, rows)

    def finish_if_reported(self, study_id: int) -> bool:
        """Ends a study whose target a trial has reported, not through `report`; see `targets`.

        Returns:
            Whether the study is over because of its target.

        Raises:
            StoreError: There is no such study.
        """

        def work(conn: sa.Connection) -> bool:
            locked = LockedStudy.take(self._db, conn, study_id)
            spending.finish_if_target_reached(locked, reported=True)
            if locked.state == "done":
                locked.end_free_trials()
            return (locked.state, locked.reason) == ("done", "target")

        return self._db.transaction(work)

    def settle(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Hands trials back with their outcomes: state, values, user attributes, event.

        A lease ends with its settlement. Settling a second time changes nothing and answers
        that the lease is lost. A value that is NaN is none; a complete trial with one fails,
        with reason nan. Interrupted trials count no attempt.

        Returns:
            The trial_ids whose lease is lost; nothing was written for them.
        """
        return settlement.settle(self._db, outcomes)

    def reap(self, study_id: int) -> list[int]:
        """Takes the trials of dead workers, so that they can be claimed again.

        Dead are workers that were silent for ``grace_s`` while another was heard all the time,
        that have ended, or whose process on this machine is gone (known at once, without grace
        or witness). A trial lost ``max_attempts`` times
        fails. Of two that reap at the same time one finds nothing. It also notices a target
        that a trial reached which another program has completed.

        Returns:
            The trial_ids taken, ascending.

        Raises:
            StoreError: There is no such study.
        """

        def work(conn: sa.Connection) -> list[int]:
            locked = LockedStudy.take(self._db, conn, study_id)
            taken = reaping.free_dead(locked, self._patience)
            claims.drop_ended_elsewhere(locked)
            spending.finish_if_target_reached(locked)
            if locked.state == "done":
                locked.end_free_trials()
            return taken

        return self._db.transaction(work)
