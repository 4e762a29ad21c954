"""Dead workers: who is dead, and what becomes of their trials."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from datetime import timedelta

import pytest

from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import processes, worker_list
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration


def test_a_silent_worker_loses_its_trials_after_the_grace(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger, silent = Ledger(database, grace_s=60), kit.new_worker(database, study_id, remote=True)
    witness = kit.new_worker(database, study_id, remote=True)
    lease = ledger.claim(study_id, silent, 1).leases[0]
    ledger.report([kit.epoch_row(lease, 1)])
    assert ledger.renew(silent, {lease.trial_id: "/c/1"}).held == {lease.trial_id}

    kit.pass_time(database, 59, [witness])
    assert ledger.reap(study_id) == []
    kit.pass_time(database, 2, [witness])
    assert ledger.reap(study_id) == [lease.trial_id]
    assert ledger.reap(study_id) == []

    again = ledger.claim(study_id, kit.new_worker(database, study_id), 1).leases[0]
    assert (again.trial_id, again.number, again.epoch) == (lease.trial_id, 0, 1)
    assert (again.attempt, again.checkpoint) == (2, "/c/1")
    assert ledger.renew(silent).held == frozenset()
    assert ledger.report([kit.epoch_row(lease, 2)]) == {lease.trial_id}
    event = kit.recent_events(database, study_id, trial_id=lease.trial_id)[0]
    assert (event.kind, event.worker_id) == ("lost", silent)
    assert "on far was silent for 61 s; the trial is resumed, attempt 2" in event.message


def test_the_first_that_is_back_after_an_outage_takes_nothing(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger = Ledger(database, grace_s=60)
    crew = [kit.new_worker(database, study_id, remote=True) for _ in range(3)]
    leases = [ledger.claim(study_id, worker_id, 1).leases[0] for worker_id in crew]
    kit.pass_time(database, 120, crew)
    database.clock_offset += timedelta(seconds=3600)

    assert ledger.renew(crew[0]).held == {leases[0].trial_id}
    assert ledger.reap(study_id) == []
    new = kit.new_worker(database, study_id, remote=True)
    assert kit.numbers(ledger.claim(study_id, new, 1).leases) == [3]
    kit.pass_time(database, 30, [crew[0], new])
    assert ledger.renew(crew[1]).held == {leases[1].trial_id}
    assert ledger.report([kit.epoch_row(leases[1], 1)]) == set()
    assert ledger.reap(study_id) == []

    # The third does not come back: once the first has been heard for the grace, it is missed.
    kit.pass_time(database, 29, [crew[0], crew[1], new])
    assert ledger.reap(study_id) == []
    kit.pass_time(database, 2, [crew[0], crew[1], new])
    assert ledger.reap(study_id) == [leases[2].trial_id]


def test_a_worker_that_was_away_is_no_witness_of_what_it_missed(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger = Ledger(database, grace_s=60)
    silent, other = (kit.new_worker(database, study_id, remote=True) for _ in range(2))
    lease = ledger.claim(study_id, silent, 1).leases[0]
    for _ in range(4):
        database.clock_offset += timedelta(seconds=21)
        ledger.claim(study_id, other, 0)
        assert ledger.reap(study_id) == []
    kit.pass_time(database, 60, [other])
    assert ledger.reap(study_id) == [lease.trial_id]


def test_a_heartbeat_keeps_the_trials(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id, remote=True)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    for minute in range(5):
        database.clock_offset = timedelta(seconds=50 * minute)
        assert ledger.reap(study_id) == []
        assert ledger.renew(worker_id).held == {lease.trial_id}
    assert kit.beat(database, worker_id)


def test_a_trial_that_was_lost_too_often_fails(database: Database) -> None:
    study_id = kit.new_study(database, trials=1)
    ledger = Ledger(database, max_attempts=3)
    witness = kit.new_worker(database, study_id, remote=True)
    for attempt in (1, 2, 3):
        worker_id = kit.new_worker(database, study_id, remote=True)
        lease = ledger.claim(study_id, worker_id, 1).leases[0]
        assert (lease.number, lease.attempt) == (0, attempt)
        kit.pass_time(database, 61, [witness])
        assert ledger.reap(study_id) == [lease.trial_id]

    assert kit.states(database, study_id) == ["FAIL"]
    assert ledger.settle([kit.outcome(lease)]) == {lease.trial_id}
    assert "the trial failed: lost 3 times" in kit.recent_events(database, study_id)[0].message
    survivor = kit.new_worker(database, study_id)
    assert ledger.claim(study_id, survivor, 1).reason == "budget"


def test_a_trial_that_has_new_epochs_each_time_may_be_lost_any_number_of_times(
    database: Database,
) -> None:
    study_id = kit.new_study(database, trials=1, epochs=9)
    ledger = Ledger(database)
    for epoch in range(1, 9):
        worker_id = kit.new_worker(database, study_id, remote=True)
        lease = ledger.claim(study_id, worker_id, 1).leases[0]
        assert (lease.attempt, lease.epoch) == (epoch, epoch - 1)
        ledger.report([kit.epoch_row(lease, epoch)])
        workers.retire(database, worker_id, lost=True)
    # From here on there is none.
    for _ in range(3):
        assert kit.states(database, study_id) == ["RUNNING"]
        worker_id = kit.new_worker(database, study_id, remote=True)
        ledger.claim(study_id, worker_id, 1)
        workers.retire(database, worker_id, lost=True)
    assert kit.states(database, study_id) == ["FAIL"]


def test_interruptions_count_no_attempt(database: Database) -> None:
    study_id = kit.new_study(database, trials=1)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    for _ in range(5):
        lease = ledger.claim(study_id, worker_id, 1).leases[0]
        assert lease.attempt == 1
        ledger.settle([kit.outcome(lease, "released", reason="interrupted")])
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    workers.retire(database, worker_id)
    survivor = kit.new_worker(database, study_id)
    assert ledger.claim(study_id, survivor, 1).leases[0].attempt == 1


def test_a_worker_that_crashed_can_be_retired_as_lost(database: Database) -> None:
    study_id = kit.new_study(database, trials=1)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    workers.retire(database, worker_id, lost=True)
    workers.retire(database, worker_id, lost=True)
    again = ledger.claim(study_id, kit.new_worker(database, study_id), 1).leases[0]
    assert (again.trial_id, again.attempt) == (lease.trial_id, 2)


def test_of_two_that_reap_at_once_one_does(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger, silent = Ledger(database), kit.new_worker(database, study_id, remote=True)
    leases = ledger.claim(study_id, silent, 5).leases
    kit.pass_time(database, 61, [kit.new_worker(database, study_id, remote=True)])
    taken: list[list[int]] = []
    barrier = threading.Barrier(4)

    def reap() -> None:
        barrier.wait()
        taken.append(ledger.reap(study_id))

    threads = [threading.Thread(target=reap) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken, key=len)[:3] == [[], [], []]
    assert max(taken, key=len) == [lease.trial_id for lease in leases]
    assert [row.attempt for row in kit.lease_rows(database, study_id)] == [2] * 5


def _claim_and_die(url: str, study_id: int) -> None:
    db = open_database(url)
    worker_id = kit.new_worker(db, study_id)
    assert Ledger(db).claim(study_id, worker_id, 2).leases
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_on_this_machine_is_noticed_at_once(sqlite_database: Database) -> None:
    study_id = kit.new_study(sqlite_database, trials=2)
    process = multiprocessing.get_context("forkserver").Process(
        target=_claim_and_die, args=(sqlite_database.url, study_id)
    )
    process.start()
    process.join(60)
    ledger, worker_id = Ledger(sqlite_database), kit.new_worker(sqlite_database, study_id)

    leases = ledger.claim(study_id, worker_id, 2).leases

    assert kit.numbers(leases) == [0, 1]
    assert [lease.attempt for lease in leases] == [2, 2]
    assert [row.worker_id for row in worker_list.live(sqlite_database, study_id)] == [worker_id]
    process.close()


def test_what_is_left_of_a_done_study_is_pruned_when_its_worker_dies(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger, silent = Ledger(database), kit.new_worker(database, study_id, remote=True)
    ledger.claim(study_id, silent, 1)
    kit.set_state(database, study_id, "done", "target")
    assert ledger.renew(silent).ending == "target"
    kit.pass_time(database, 61, [kit.new_worker(database, study_id, remote=True)])

    ledger.reap(study_id)

    assert kit.states(database, study_id) == ["PRUNED"]


def test_processes_are_known_by_their_start_not_only_their_number() -> None:
    here = os.getpid()
    started_at = processes.started_at(here)
    assert started_at is not None
    assert not processes.is_dead(here, started_at)
    assert processes.is_dead(here, started_at - 100)
    assert processes.is_dead(2**22 + 1, started_at)
    assert processes.machine() == processes.machine()
