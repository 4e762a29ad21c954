"""Paused trials: who resumes them, what they cost, and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.report.study_queries import find
from hpo.report.trial_pages import best_trials
from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.spec.study_spec import Budget
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger.leases import AssignmentRequest, AssignmentRequests, Claim, Lease
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import control, copying, queueing, studies, study_records
from tests.kits import ledger_kit as kit
from tests.kits.contexts import context_at

NEW = AssignmentRequest(None, 0, 1)


def claim(
    ledger: Ledger,
    study_id: int,
    worker_id: int,
    *requests: AssignmentRequest,
    held: tuple[int, ...] = (),
) -> Claim:
    return ledger.claim(study_id, worker_id, len(requests), held, AssignmentRequests(requests))


def train(ledger: Ledger, lease: Lease, value: float = 0.5) -> None:
    epochs = range(lease.epoch + 1, lease.epoch_stop + 1)
    assert ledger.report([kit.epoch_row(lease, epoch, value) for epoch in epochs]) == set()


def pause(ledger: Ledger, lease: Lease, value: float = 0.5) -> None:
    train(ledger, lease, value)
    paused = kit.outcome(lease, "paused", epoch=lease.epoch_stop, checkpoint="here")
    assert ledger.settle([paused]) == set()


@pytest.fixture
def study_id(database: Database) -> int:
    return kit.new_study(database)


@pytest.fixture
def worker_id(database: Database, study_id: int) -> int:
    return kit.new_worker(database, study_id)


def test_a_paused_trial_waits_for_a_request(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    assert (lease.epoch, lease.epoch_stop, lease.is_new) == (0, 1, True)
    pause(ledger, lease)
    (other,) = claim(ledger, study_id, worker_id, NEW).leases
    assert other.number == 1
    assert ledger.study_status(study_id).leases[lease.trial_id].is_held is False


def test_an_advance_keeps_number_epochs_and_checkpoint(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    pause(ledger, lease)
    (again,) = claim(ledger, study_id, worker_id, AssignmentRequest(lease.trial_id, 1, 3)).leases
    assert (again.trial_id, again.number) == (lease.trial_id, lease.number)
    assert (again.epoch, again.epoch_stop, again.checkpoint) == (1, 3, "here")
    assert again.token != lease.token
    assert not again.is_new


def test_of_two_that_want_a_paused_trial_one_gets_it(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger, other_id = Ledger(database), kit.new_worker(database, study_id)
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    pause(ledger, lease)
    request = AssignmentRequest(lease.trial_id, 1, 3)
    assert len(claim(ledger, study_id, worker_id, request).leases) == 1
    late = claim(ledger, study_id, other_id, request)
    assert (late.leases, late.n_missed, late.exhausted) == ((), 1, False)


def test_a_trial_that_has_moved_on_is_not_granted(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    pause(ledger, lease)
    (again,) = claim(ledger, study_id, worker_id, AssignmentRequest(lease.trial_id, 1, 2)).leases
    pause(ledger, again)
    assert claim(ledger, study_id, worker_id, AssignmentRequest(lease.trial_id, 1, 2)).n_missed == 1


def test_own_lanes_go_on_with_the_token_that_they_have(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    train(ledger, lease)
    request = AssignmentRequest(lease.trial_id, 1, 3)
    (raised,) = claim(ledger, study_id, worker_id, request, held=(lease.trial_id,)).leases
    assert (raised.token, raised.epoch, raised.epoch_stop) == (lease.token, 1, 3)
    train(ledger, raised)
    assert kit.epochs_of(database, lease.trial_id) == [1, 2, 3]


def test_interrupted_trials_come_before_requests(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, AssignmentRequest(None, 0, 2)).leases
    ledger.report([kit.epoch_row(lease, 1)])
    ledger.settle([kit.outcome(lease, "released", epoch=1)])
    (again,) = claim(ledger, study_id, worker_id, NEW).leases
    assert (again.number, again.epoch, again.epoch_stop) == (0, 1, 2)


def test_a_requested_interrupted_trial_is_granted_once(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    pause(ledger, lease)
    (again,) = claim(ledger, study_id, worker_id, AssignmentRequest(lease.trial_id, 1, 3)).leases
    ledger.settle([kit.outcome(again, "released", epoch=1, checkpoint="here")])
    found = claim(ledger, study_id, worker_id, AssignmentRequest(lease.trial_id, 1, 4), NEW)
    assert [(x.trial_id, x.epoch_stop) for x in found.leases if not x.is_new] == [
        (lease.trial_id, 3)
    ]
    assert len({x.trial_id for x in found.leases}) == len(found.leases) == 2
    assert found.n_missed == 0


def test_a_trial_with_all_its_epochs_needs_no_request(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, AssignmentRequest(None, 0, 3)).leases
    train(ledger, lease)
    ledger.settle([kit.outcome(lease, "released", epoch=3)])
    (again,) = claim(ledger, study_id, worker_id, NEW).leases
    assert (again.number, again.epoch, again.epoch_stop) == (0, 3, 3)


def test_paused_trials_count_as_begun(database: Database, worker_id: int, study_id: int) -> None:
    kit.set_budget(database, study_id, Budget(trials=2, epochs=3))
    ledger = Ledger(database)
    leases = claim(ledger, study_id, worker_id, NEW, NEW, NEW).leases
    assert len(leases) == 2
    for lease in leases:
        pause(ledger, lease)
    answer = claim(ledger, study_id, worker_id, NEW)
    assert (answer.leases, answer.exhausted, answer.reason) == ((), False, "waiting")
    assert ledger.study_status(study_id).n_new == 0


def test_epochs_are_promised_to_the_stop_only(database: Database) -> None:
    study_id = kit.new_study(database, total_epochs=5)
    worker_id, ledger = kit.new_worker(database, study_id), Ledger(database)
    first, second = claim(ledger, study_id, worker_id, NEW, NEW).leases
    assert ledger.study_status(study_id).epochs_left == 3
    pause(ledger, first)
    pause(ledger, second)
    assert ledger.study_status(study_id).epochs_left == 3
    request = AssignmentRequest(first.trial_id, 1, 3)
    leases = claim(
        ledger, study_id, worker_id, request, AssignmentRequest(second.trial_id, 1, 3)
    ).leases
    assert [lease.epoch_stop for lease in leases] == [3, 2]


def finished(ledger: Ledger, study_id: int, worker_id: int) -> Claim:
    token = ledger.study_status(study_id).last_token
    return ledger.claim(study_id, worker_id, 1, (), AssignmentRequests((), 1, token))


def test_what_is_paused_at_the_end_is_pruned_with_its_last_value(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (first,) = claim(ledger, study_id, worker_id, AssignmentRequest(None, 0, 2)).leases
    pause(ledger, first, 0.25)
    answer = finished(ledger, study_id, worker_id)
    assert (answer.exhausted, answer.reason) == (True, "budget")
    assert kit.states(database, study_id) == ["PRUNED"]
    assert kit.values_of(database, first.trial_id) == [0.25]
    assert study_records.load(database, "s").state == "done"


def test_a_study_does_not_end_on_an_old_look(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    old = ledger.study_status(study_id).last_token
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    pause(ledger, lease)
    answer = ledger.claim(study_id, worker_id, 1, (), AssignmentRequests((), 1, old))
    assert (answer.exhausted, answer.reason) == (False, "waiting")


def test_a_study_does_not_end_while_somebody_works(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger, other_id = Ledger(database), kit.new_worker(database, study_id)
    claim(ledger, study_id, other_id, NEW)
    assert not finished(ledger, study_id, worker_id).exhausted


def test_a_study_ends_when_its_epochs_are_spent(database: Database) -> None:
    study_id = kit.new_study(database, total_epochs=1)
    worker_id, ledger = kit.new_worker(database, study_id), Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    pause(ledger, lease)
    assert claim(ledger, study_id, worker_id, NEW).exhausted


def test_reaping_leaves_paused_trials_alone(database: Database, study_id: int) -> None:
    ledger, gone_id = (
        Ledger(database, grace_s=60.0),
        kit.new_worker(database, study_id, remote=True),
    )
    witness = kit.new_worker(database, study_id, remote=True)
    paused, running = claim(ledger, study_id, gone_id, NEW, NEW).leases
    pause(ledger, paused)
    kit.pass_time(database, 70, [witness])
    assert ledger.reap(study_id) == [running.trial_id]
    attempts = {row.trial_id: row.attempt for row in kit.lease_rows(database, study_id)}
    assert attempts == {paused.trial_id: 1, running.trial_id: 2}


def test_enqueued_trials_are_trained_to_the_first_stop(
    database: Database, study_id: int, worker_id: int
) -> None:
    queueing.enqueue(database, study_id, {"learning_rate": 0.5})
    requests = AssignmentRequests((NEW,), 2)
    (lease,) = Ledger(database).claim(study_id, worker_id, 1, (), requests).leases
    assert (lease.epoch_stop, lease.is_new) == (2, False)


def test_a_paused_trial_can_be_cancelled(database: Database, study_id: int, worker_id: int) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    pause(ledger, lease)
    assert control.cancel(database, study_id, [0]) == [0]
    assert claim(ledger, study_id, worker_id, AssignmentRequest(lease.trial_id, 1, 3)).n_missed == 1


def test_paused_studies_keep_their_paused_trials(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, NEW).leases
    pause(ledger, lease)
    for verb in ("pause", "resume", "stop", "resume"):
        control.steer(database, study_id, verb)
    (again,) = claim(ledger, study_id, worker_id, AssignmentRequest(lease.trial_id, 1, 3)).leases
    assert again.epoch == 1


def test_fewer_epochs_complete_what_has_paused_beyond_them(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    (lease,) = claim(ledger, study_id, worker_id, AssignmentRequest(None, 0, 2)).leases
    pause(ledger, lease)
    kit.set_budget(database, study_id, Budget(trials=5, epochs=2))
    (again,) = claim(ledger, study_id, worker_id, NEW).leases
    assert (again.trial_id, again.epoch, again.epoch_stop) == (lease.trial_id, 2, 2)


def test_deleting_a_study_deletes_its_paused_trials(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    pause(ledger, claim(ledger, study_id, worker_id, NEW).leases[0])
    assert studies.delete(database, study_id)
    with database.read() as conn:
        n = conn.scalar(sa.select(sa.func.count()).select_from(optuna_tables.trials))
    assert n == 0


def test_a_study_tells_why_it_ended(database: Database, study_id: int, worker_id: int) -> None:
    ledger = Ledger(database)
    pause(ledger, claim(ledger, study_id, worker_id, NEW).leases[0])
    token = ledger.study_status(study_id).last_token
    last = AssignmentRequests((), 1, token, reason="exhausted")
    assert ledger.claim(study_id, worker_id, 1, (), last).reason == "exhausted"
    assert study_records.load(database, "s").reason == "exhausted"


def test_without_patience_nothing_new_begins_but_what_began_is_trained(
    database: Database, tmp_path: Path
) -> None:
    study_id = kit.new_study(database, trials=9, patience=2)
    context = context_at(database, "s", tmp_path)
    context.patience, ledger = study_records.load(database, "s").budget.patience, context.ledger
    assigner = SamplerAssigner(context)
    for value in (0.9, 0.5):
        (lease,) = assigner.claim(1, ()).leases
        ledger.settle([kit.outcome(lease, values=(value,))])
    (left,) = assigner.claim(1, ()).leases
    (last,) = assigner.claim(1, {left.trial_id}).leases
    ledger.settle([kit.outcome(last, values=(0.6,)), kit.outcome(left, "released")])
    (again,) = assigner.claim(1, ()).leases
    assert again.trial_id == left.trial_id
    assert assigner.claim(1, {again.trial_id}).reason == "waiting"
    ledger.settle([kit.outcome(again, values=(0.7,))])
    assert assigner.claim(1, ()).reason == "patience"
    assert kit.states(database, study_id) == ["COMPLETE"] * 4
    kit.set_budget(database, study_id, Budget(trials=9, epochs=3, patience=5))
    assert ledger.renew(context.worker_id).patience == 5
    assert study_records.load(database, "s").state == "active"


def test_a_deadline_ends_a_study_whose_trials_all_paused(database: Database) -> None:
    study_id = kit.new_study(database, hours=1.0)
    worker_id, ledger = kit.new_worker(database, study_id), Ledger(database)
    leases = claim(ledger, study_id, worker_id, NEW, NEW).leases
    for lease, value in zip(leases, (0.25, 0.75), strict=True):
        pause(ledger, lease, value)
    assert best_trials(database, find(database, "s")) == []
    kit.pass_time(database, 3700, [worker_id])
    answer = claim(ledger, study_id, worker_id, AssignmentRequest(leases[0].trial_id, 1, 3))
    assert (answer.leases, answer.exhausted, answer.reason) == ((), True, "deadline")
    assert kit.states(database, study_id) == ["PRUNED", "PRUNED"]
    assert [kit.values_of(database, lease.trial_id) for lease in leases] == [[0.25], [0.75]]
    assert kit.lease_rows(database, study_id) == []
    (best,) = best_trials(database, find(database, "s"))
    assert (best.state, best.number, best.value) == ("PRUNED", leases[1].number, 0.75)


def test_a_look_tells_how_much_time_is_left(database: Database, study_id: int) -> None:
    assert Ledger(database).study_status(study_id).seconds_left is None
    other_id = kit.new_study(database, name="timed", hours=1.0)
    worker_id, ledger = kit.new_worker(database, other_id), Ledger(database)
    assert ledger.study_status(other_id).epoch_s is None
    (lease,) = claim(ledger, other_id, worker_id, NEW).leases
    pause(ledger, lease)
    kit.pass_time(database, 3000, [worker_id])
    status = ledger.study_status(other_id)
    assert status.seconds_left is not None
    assert 0.0 < status.seconds_left <= 600.0
    assert status.epoch_s == kit.epoch_row(lease, 1, 0.5).seconds


def test_a_budget_can_change_while_trials_are_paused(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    first, second = claim(ledger, study_id, worker_id, NEW, NEW).leases
    pause(ledger, first)
    pause(ledger, second)
    kit.set_budget(database, study_id, Budget(trials=1, epochs=9))
    assert ledger.study_status(study_id).n_new == 0
    (again,) = claim(ledger, study_id, worker_id, AssignmentRequest(first.trial_id, 1, 5)).leases
    assert (again.epoch, again.epoch_stop) == (1, 5)
    pause(ledger, again)
    assert finished(ledger, study_id, worker_id).reason == "budget"
    kit.set_budget(database, study_id, Budget(trials=3, epochs=9))
    assert study_records.load(database, "s").state == "active"
    (new,) = claim(ledger, study_id, worker_id, NEW).leases
    assert (new.number, kit.states(database, study_id)[:2]) == (2, ["PRUNED", "PRUNED"])


def test_a_failed_trial_is_retried_beside_paused_ones(
    database: Database, study_id: int, worker_id: int
) -> None:
    ledger = Ledger(database)
    paused, failed = claim(ledger, study_id, worker_id, NEW, NEW).leases
    pause(ledger, paused)
    ledger.settle([kit.outcome(failed, "failed", reason="user_code")])
    assert list(queueing.retry(database, study_id, [1])) == [1]
    (again,) = ledger.claim(study_id, worker_id, 1, (), AssignmentRequests((NEW,), 2)).leases
    assert (again.number, again.epoch_stop, again.is_new) == (2, 2, False)
    assert ledger.study_status(study_id).leases[paused.trial_id].is_held is False


def test_paused_trials_go_on_in_a_copy(
    database: Database, study_id: int, worker_id: int, tmp_path: Path
) -> None:
    ledger = Ledger(database)
    pause(ledger, claim(ledger, study_id, worker_id, NEW).leases[0], 0.25)
    other = open_database(str(tmp_path / "copy.db"), create=True)
    copying.copy(database, other, ("s", "s"), copying.Options(force=True))
    there, ledger = study_records.load(other, "s").study_id, Ledger(other)
    (trial_id, lease), *rest = ledger.study_status(there).leases.items()
    assert (lease.is_held, lease.epoch, lease.epoch_stop, rest) == (False, 1, 1, [])
    here = kit.new_worker(other, there)
    (again,) = claim(ledger, there, here, AssignmentRequest(trial_id, 1, 3)).leases
    assert (again.number, again.epoch, again.checkpoint) == (0, 1, "here")
    other.dispose()
