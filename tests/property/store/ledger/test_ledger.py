"""Any sequence of what workers, users and clocks may do leaves the ledger in order."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from hpo.spec.study_spec import Budget
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.leases import (
    AssignmentRequest,
    AssignmentRequests,
    Lease,
    OutcomeState,
    StudyState,
)
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import study_records
from tests.kits import ledger_kit as kit

EPOCHS = 3
TOTAL_EPOCHS = 8
GRACE_S = 60.0


@lru_cache(maxsize=1)
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hpo-machine-"))
    atexit.register(shutil.rmtree, folder)
    open_database(f"sqlite:///{folder / 'hpo.db'}", create=True).dispose()
    return folder / "hpo.db"


class LedgerMachine(RuleBasedStateMachine):
    """What a worker was told is kept beside; the rows must agree with it."""

    leases: Bundle[Lease] = Bundle("leases")
    crew: Bundle[int] = Bundle("crew")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hpo-machine-"))
        shutil.copy(_template(), self.folder / "hpo.db")
        self.db = Database(f"sqlite:///{self.folder / 'hpo.db'}")
        self.n_trials = 4
        self.study_id = kit.new_study(
            self.db, trials=self.n_trials, epochs=EPOCHS, total_epochs=TOTAL_EPOCHS
        )
        self.ledger = Ledger(self.db, grace_s=GRACE_S, max_attempts=3)
        self.witness = kit.new_worker(self.db, self.study_id, remote=True)
        self.tokens: set[int] = set()
        self.n_started = 0
        self.ended: dict[int, str] = {}

    @initialize(target=crew)
    def open_shop(self) -> MultipleResults[int]:
        return multiple(*(kit.new_worker(self.db, self.study_id, remote=True) for _ in range(2)))

    @rule(target=crew)
    def hire(self) -> int:
        return kit.new_worker(self.db, self.study_id, remote=True)

    @rule(target=leases, worker_id=crew, n=st.integers(1, 3), remembers=st.booleans())
    def claim(self, worker_id: int, n: int, remembers: bool) -> MultipleResults[Lease]:
        before = self.held_by(worker_id)
        claim = self.ledger.claim(self.study_id, worker_id, n, before if remembers else ())
        assert len(claim.leases) <= n
        assert not (claim.exhausted and claim.leases)
        for lease in claim.leases:
            assert lease.token not in self.tokens, "a token was granted twice"
            assert lease.epoch <= lease.epoch_stop <= EPOCHS
            assert not (remembers and lease.trial_id in before)
            assert self.row(lease.trial_id).worker_id == worker_id
            self.tokens.add(lease.token)
        n_started = len(kit.states(self.db, self.study_id))
        assert n_started <= max(self.n_started, self.n_trials), "above the budget of trials"
        self.n_started = n_started
        return multiple(*claim.leases)

    @rule(
        target=leases,
        worker_id=crew,
        n=st.integers(1, 3),
        stop=st.integers(1, EPOCHS),
        is_over=st.booleans(),
    )
    def claim_by_requests(
        self, worker_id: int, n: int, stop: int, is_over: bool
    ) -> MultipleResults[Lease]:
        held = {row.trial_id: row for row in self.rows() if row.worker_id == worker_id}
        status = self.ledger.study_status(self.study_id)
        idle = not any(lease.is_held for lease in status.leases.values())
        ordered = [
            AssignmentRequest(trial_id, lease.epoch, min(EPOCHS, lease.epoch + stop))
            for trial_id, lease in status.leases.items()
            # One that a worker has, with all its epochs, is settled by it, not trained further.
            # One that was paused a moment ago may have been suspended by another since.
            if not lease.is_held or (trial_id in held and lease.epoch_stop <= lease.epoch < EPOCHS)
        ]
        ordered += [AssignmentRequest(None, 0, stop)] * n
        token = status.last_token if idle and is_over else None
        requests = AssignmentRequests(() if is_over else tuple(ordered), stop, token)
        claim = self.ledger.claim(self.study_id, worker_id, n, held, requests)
        assert len({lease.trial_id for lease in claim.leases}) == len(claim.leases) <= n
        fresh = []
        for lease in claim.leases:
            assert lease.epoch <= lease.epoch_stop <= EPOCHS
            if lease.trial_id in held:
                assert lease.token == held[lease.trial_id].token, "its reports would be lost"
                assert lease.epoch_stop > held[lease.trial_id].epoch_stop
                continue
            assert lease.token not in self.tokens, "a token was granted twice"
            self.tokens.add(lease.token)
            fresh.append(lease)
        n_started = len(kit.states(self.db, self.study_id))
        assert n_started <= max(self.n_started, self.n_trials), "above the budget of trials"
        self.n_started = n_started
        return multiple(*fresh)

    @rule(worker_id=crew)
    def renew(self, worker_id: int) -> None:
        renewal = self.ledger.renew(worker_id)
        assert renewal.held == self.held_by(worker_id) or renewal.state == "gone"

    @rule(lease=leases)
    def report(self, lease: Lease) -> None:
        row, before = self.row(lease.trial_id), kit.epochs_of(self.db, lease.trial_id)
        is_owner = row is not None and row.token == lease.token
        epoch = len(before) + 1
        # Its owner may have been told to train it further.
        if epoch > (row.epoch_stop if is_owner else lease.epoch_stop):
            return
        lost = self.ledger.report([kit.epoch_row(lease, epoch)])
        assert lost == (set() if is_owner else {lease.trial_id})
        after = [*before, epoch] if is_owner else before
        assert kit.epochs_of(self.db, lease.trial_id) == after
        self.ledger.report([kit.epoch_row(lease, epoch)])
        assert kit.epochs_of(self.db, lease.trial_id) == after

    @rule(
        lease=consumes(leases),
        state=st.sampled_from(["complete", "pruned", "failed", "paused", "released"]),
    )
    def settle(self, lease: Lease, state: OutcomeState) -> None:
        row = self.row(lease.trial_id)
        lost = self.ledger.settle([kit.outcome(lease, state)])
        is_owner = row is not None and row.token == lease.token
        assert lost == (set() if is_owner else {lease.trial_id})
        assert self.ledger.settle([kit.outcome(lease, state)]) == {lease.trial_id}

    @rule(worker_id=consumes(crew), lost=st.booleans())
    def leave(self, worker_id: int, lost: bool) -> None:
        workers.retire(self.db, worker_id, lost=lost)
        assert self.held_by(worker_id) == set()

    @rule(seconds=st.sampled_from([1, 30, 61]), witnessed=st.booleans())
    def pass_time_and_reap(self, seconds: int, witnessed: bool) -> None:
        before = {row.trial_id for row in kit.lease_rows(self.db, self.study_id) if row.worker_id}
        kit.pass_time(self.db, seconds, [self.witness] if witnessed else [])
        first, second = self.ledger.reap(self.study_id), self.ledger.reap(self.study_id)
        assert second == []
        assert set(first) <= (before if witnessed else set()), "no witness of their silence"
        assert len(set(first)) == len(first)

    @rule(state=st.sampled_from(["paused", "active", "stopped"]))
    def order(self, state: StudyState) -> None:
        if study_records.load(self.db, "s").state != "done":
            kit.set_state(self.db, self.study_id, state)

    @rule(n_trials=st.integers(1, 7))
    def update(self, n_trials: int) -> None:
        self.n_trials = n_trials
        budget = Budget(trials=n_trials, epochs=EPOCHS, total_epochs=TOTAL_EPOCHS)
        kit.set_budget(self.db, self.study_id, budget)

    @invariant()
    def never_above_the_budget_of_epochs(self) -> None:
        rows = kit.lease_rows(self.db, self.study_id)
        open_ids = {row.trial_id for row in rows}
        reserved = sum(max(row.epoch, row.epoch_stop) for row in rows if row.worker_id)
        free = sum(row.epoch for row in rows if not row.worker_id)
        spent = sum(len(kit.epochs_of(self.db, t)) for t in self.trial_ids() - open_ids)
        assert spent + free + reserved <= TOTAL_EPOCHS

    @invariant()
    def what_has_ended_stays_as_it_is(self) -> None:
        states = kit.states(self.db, self.study_id)
        if study_records.load(self.db, "s").state == "done":
            assert all(row.worker_id for row in self.rows()), "a study that is done has paused ones"
        for number, state in enumerate(states):
            if state != "RUNNING":
                assert self.ended.setdefault(number, state) == state
        assert all(states[number] == state for number, state in self.ended.items())

    @invariant()
    def leases_are_those_of_running_trials(self) -> None:
        rows = kit.lease_rows(self.db, self.study_id)
        assert len(rows) == kit.n_running(self.db, self.study_id)
        assert all((row.token == 0) == (row.worker_id is None) for row in rows)

    def teardown(self) -> None:
        self.drain()
        assert kit.n_running(self.db, self.study_id) == 0
        self.db.dispose()
        shutil.rmtree(self.folder)

    def drain(self) -> None:
        """A worker that is left alone must bring the study to its end."""
        if study_records.load(self.db, "s").state != "done":
            kit.set_state(self.db, self.study_id, "active")
        worker_id = kit.new_worker(self.db, self.study_id, remote=True)
        kit.pass_time(self.db, GRACE_S + 1, [worker_id])
        for _ in range(50):
            claim = self.ledger.claim(self.study_id, worker_id, 2)
            if claim.exhausted:
                return
            assert claim.leases, f"neither work nor an end: {claim}"
            for lease in claim.leases:
                epochs = range(lease.epoch + 1, lease.epoch_stop + 1)
                assert self.ledger.report([kit.epoch_row(lease, e) for e in epochs]) == set()
                assert self.ledger.settle([kit.outcome(lease)]) == set()
        raise AssertionError("the study does not end")

    def rows(self) -> list[Any]:
        return kit.lease_rows(self.db, self.study_id)

    def row(self, trial_id: int) -> Any:
        return next((row for row in self.rows() if row.trial_id == trial_id), None)

    def held_by(self, worker_id: int) -> set[int]:
        rows = kit.lease_rows(self.db, self.study_id)
        return {row.trial_id for row in rows if row.worker_id == worker_id}

    def trial_ids(self) -> set[int]:
        return kit.trial_ids(self.db, self.study_id)


TestLedgerMachine = pytest.mark.slow(LedgerMachine.TestCase)
TestLedgerMachine.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
