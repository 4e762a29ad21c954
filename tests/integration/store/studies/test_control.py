"""Orders to a running study: each is one transaction, exact on every kind of database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.errors import HpoError, SpecError
from hpo.search.optuna.study_search import Search
from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event
from hpo.store.ledger import breaker, spending
from hpo.store.ledger.leases import Lease, OutcomeState
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.studies import control, queueing, studies, study_endings, study_records
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration
LoadStudy = Callable[[str], optuna.Study]


class Shop:
    """A study, one worker of it, and what the worker may do."""

    def __init__(self, db: Database, spec: StudySpec | None = None, **budget: Any) -> None:
        self.db = db
        spec = kit.spec("s", **budget) if spec is None else spec
        self.study_id = studies.create_or_join(db, spec, None)[0].study_id
        self.ledger = Ledger(db)
        self.worker_id = kit.new_worker(db, self.study_id)

    def claim(self, n: int = 1, held: tuple[int, ...] = ()) -> list[Lease]:
        return list(self.ledger.claim(self.study_id, self.worker_id, n, held).leases)

    def refusal(self) -> tuple[bool, str]:
        claim = self.ledger.claim(self.study_id, self.worker_id, 1)
        assert not claim.leases
        return claim.exhausted, claim.reason

    def end(self, *ways: str, message: str = "") -> None:
        """Runs one trial after the other to these ends."""
        for ending in ways:
            (lease,) = self.claim()
            state: OutcomeState = "complete" if ending == "complete" else "failed"
            reason = "" if ending == "complete" else ending
            self.ledger.settle([kit.outcome(lease, state, reason=reason, message=message)])

    @property
    def record(self) -> study_records.StudyRecord:
        return study_records.load(self.db, "s")

    @property
    def states(self) -> list[str]:
        return kit.states(self.db, self.study_id)


def test_pausing_resuming_and_stopping(database: Database) -> None:
    shop = Shop(database)
    (lease,) = shop.claim()

    assert control.steer(database, shop.study_id, "pause") == "active"
    assert control.steer(database, shop.study_id, "pause") == "paused"
    renewal = shop.ledger.renew(shop.worker_id)
    assert (renewal.state, renewal.ending) == ("paused", "")
    shop.ledger.settle([kit.outcome(lease, "paused", epoch=1)])
    assert shop.refusal() == (False, "paused")
    assert shop.states == ["RUNNING"]

    assert control.steer(database, shop.study_id, "resume") == "paused"
    (again,) = shop.claim()
    assert (again.trial_id, again.epoch, again.attempt) == (lease.trial_id, 1, 1)

    assert control.steer(database, shop.study_id, "stop") == "active"
    assert shop.ledger.renew(shop.worker_id).ending == "stopped"
    shop.ledger.settle([kit.outcome(again, "pruned", reason="stopped")])
    assert shop.refusal() == (True, "stopped")

    assert control.steer(database, shop.study_id, "resume") == "stopped"
    assert shop.claim()
    kinds = [event.kind for event in kit.recent_events(database, shop.study_id)]
    assert kinds == ["active", "stopped", "stopped", "active", "paused"]


def test_a_study_that_is_done_takes_no_such_orders(database: Database) -> None:
    shop = Shop(database, trials=1)
    shop.end("complete")
    assert shop.refusal() == (True, "budget")
    for verb in ("pause", "resume", "stop"):
        with pytest.raises(HpoError, match=rf"s is done \(budget\); there is nothing to {verb}"):
            control.steer(database, shop.study_id, verb)


def test_cancelling_is_fenced_and_costs_no_trial_of_the_budget(database: Database) -> None:
    shop = Shop(database, trials=3)
    shop.end("complete")
    first, second = shop.claim(2)
    (number,) = queueing.enqueue(database, shop.study_id, {"learning_rate": 0.5})

    assert control.cancel(database, shop.study_id, [first.number, number]) == [1, 3]
    assert shop.ledger.renew(shop.worker_id).held == {second.trial_id}
    rows = [kit.epoch_row(first, 1), kit.epoch_row(second, 1)]
    assert shop.ledger.report(rows) == {first.trial_id}
    assert shop.ledger.settle([kit.outcome(first)]) == {first.trial_id}
    assert shop.states == ["COMPLETE", "FAIL", "RUNNING", "FAIL"]
    assert [
        e.kind for e in kit.recent_events(database, shop.study_id, trial_id=first.trial_id)
    ] == ["cancelled"]

    (third,) = shop.claim(5, (second.trial_id,))
    shop.ledger.settle([kit.outcome(second), kit.outcome(third)])
    assert shop.refusal() == (True, "budget")
    assert shop.states.count("COMPLETE") == shop.record.budget.trials == 3


def test_cancelling_all_takes_those_that_nobody_works_on_too(database: Database) -> None:
    shop = Shop(database)
    held, put_down = shop.claim(2)
    shop.ledger.settle([kit.outcome(put_down, "released", epoch=2)])
    queueing.enqueue(database, shop.study_id, {}, 2)

    assert control.cancel(database, shop.study_id) == [0, 1, 2, 3]
    assert control.cancel(database, shop.study_id) == []
    assert shop.states == ["FAIL"] * 4
    assert kit.lease_rows(database, shop.study_id) == []
    assert shop.ledger.report([kit.epoch_row(held, 1)]) == {held.trial_id}


def test_cancelling_what_has_ended_cancels_nothing(database: Database) -> None:
    shop = Shop(database)
    shop.end("complete")
    shop.claim()
    with pytest.raises(SpecError) as caught:
        control.cancel(database, shop.study_id, [0, 1, 7])
    problems = [(p.key, p.message) for p in caught.value.problems]
    assert problems == [
        ("trial 0", "has ended: it is COMPLETE"),
        ("trial 7", "there is none"),
    ]
    assert shop.states == ["COMPLETE", "RUNNING"]


def _draw(shop: Shop, lease: Lease) -> dict[str, Any]:
    return Search(shop.record.spec, Storage(shop.db)).params(lease.trial_id)


def test_retrying_keeps_the_params_and_counts_once(database: Database) -> None:
    shop = Shop(database, trials=3)
    (lease,) = shop.claim()
    params = _draw(shop, lease)
    shop.ledger.settle([kit.outcome(lease, "failed", reason="oom")])
    shop.end("user_code", "complete")
    assert shop.refusal() == (True, "budget")

    assert queueing.retry(database, shop.study_id, reasons=["oom"]) == {0: 3}
    assert (shop.record.state, shop.record.reason) == ("active", None)
    (again,) = shop.claim(5)
    assert (again.number, _draw(shop, again)) == (3, params)
    shop.ledger.settle([kit.outcome(again)])
    assert shop.refusal() == (True, "budget")
    trial = optuna.load_study(study_name="s", storage=Storage(database)).trials[3]
    assert trial.user_attrs == {"retried_from": 0}

    # Once is enough, and what is asked for by its number must have failed.
    assert queueing.retry(database, shop.study_id) == {1: 4}
    assert queueing.retry(database, shop.study_id) == {}
    with pytest.raises(SpecError) as caught:
        queueing.retry(database, shop.study_id, [0, 2])
    assert [p.message for p in caught.value.problems] == ["has not failed: it is COMPLETE"]
    with pytest.raises(SpecError) as caught:
        queueing.retry(database, shop.study_id, [0])
    assert [p.message for p in caught.value.problems] == ["was retried as trial 3"]


def test_the_allowance_for_retries_outlives_a_change_of_the_budget(database: Database) -> None:
    shop = Shop(database, trials=3)
    shop.end("user_code", "complete", "complete")
    control_lease = queueing.retry(database, shop.study_id)
    assert control_lease == {0: 3}
    shop.end("complete")
    assert shop.refusal() == (True, "budget")
    kit.set_budget(database, shop.study_id, Budget(trials=5, epochs=3))
    assert len(shop.claim(10)) == 2


def test_cancelled_and_diverged_trials_are_retried_when_asked_for(database: Database) -> None:
    shop = Shop(database, trials=4)
    (cancelled, diverged) = shop.claim(2)
    control.cancel(database, shop.study_id, [cancelled.number])
    shop.ledger.settle([kit.outcome(diverged, "pruned", reason="nan")])
    assert queueing.retry(database, shop.study_id) == {}
    assert queueing.retry(database, shop.study_id, reasons=["nan", "cancelled"]) == {0: 2, 1: 3}
    # Four of its own beside the cancelled one and the diverged one, which were left out.
    assert len(shop.claim(10)) == 4


def test_enqueued_trials_are_plain_optunas_too(database: Database, plain_optuna: LoadStudy) -> None:
    shop = Shop(database)
    numbers = queueing.enqueue(database, shop.study_id, {"learning_rate": 0.25}, 2)
    assert numbers == [0, 1]
    theirs = plain_optuna("s").ask()
    assert theirs.suggest_float("learning_rate", 0.1, 1.0) == 0.25
    (ours,) = shop.claim()
    assert _draw(shop, ours) == {"learning_rate": 0.25}
    assert {theirs.number, ours.number} == {0, 1}


def test_lowering_below_what_has_ended_ends_the_study(database: Database) -> None:
    shop = Shop(database, trials=5)
    shop.end("complete", "complete")
    (running,) = shop.claim()
    kit.set_budget(database, shop.study_id, Budget(trials=2, epochs=3))
    assert (shop.record.state, shop.record.reason) == ("done", "budget")
    assert shop.ledger.renew(shop.worker_id).ending == "budget"
    shop.ledger.settle([kit.outcome(running, "pruned", reason="budget")])
    kit.set_budget(database, shop.study_id, Budget(trials=3, epochs=9))
    assert study_records.load(database, "s").state == "done"
    kit.set_budget(database, shop.study_id, Budget(trials=4, epochs=9))
    assert shop.record.state == "active"
    assert len(shop.claim(10)) == 1


def test_lowering_epochs_takes_running_trials_back(database: Database) -> None:
    shop = Shop(database, trials=2, epochs=9, total_epochs=18)
    one, two = shop.claim(2)
    shop.ledger.report([kit.epoch_row(one, 1), kit.epoch_row(two, 1)])
    kit.set_budget(database, shop.study_id, Budget(trials=2, epochs=9, total_epochs=12))

    assert shop.ledger.report([kit.epoch_row(one, 2)]) == {one.trial_id}
    again = shop.claim(2)
    assert [(lease.epoch, lease.epoch_stop, lease.attempt) for lease in again] == [
        (1, 9, 1),
        (1, 3, 1),
    ]
    kit.set_budget(database, shop.study_id, Budget(trials=2, epochs=4, total_epochs=12))
    short, other = shop.claim(2, (again[1].trial_id,)), again[1]
    assert [(lease.epoch, lease.epoch_stop) for lease in short] == [(1, 4)]
    assert shop.ledger.report([kit.epoch_row(other, 2)]) == set()


def test_a_deadline_that_has_passed_ends_the_study(database: Database) -> None:
    shop = Shop(database, trials=5)
    database.clock_offset += timedelta(hours=1)
    kit.set_budget(database, shop.study_id, Budget(trials=5, hours=0.5))
    assert (shop.record.state, shop.record.reason) == ("done", "deadline")
    kit.set_budget(database, shop.study_id, Budget(trials=5, hours=2.0123456))
    assert shop.record.state == "active"
    told = sa.select(hpo_event.c.message).where(hpo_event.c.kind == "budget").order_by("event_id")
    with database.read() as conn:
        assert list(conn.scalars(told)) == [
            "epochs 3 -> 27, hours none -> 0.5",
            "hours 0.5 -> 2.012",
        ]


def test_a_study_whose_trials_mostly_fail_stops_itself(database: Database) -> None:
    shop = Shop(database, trials=40)
    shop.end("complete", "complete")
    traceback = "Traceback (most recent call last):\n  File x\nValueError: no good\n"
    shop.end(*["user_code"] * 4, message=traceback)
    assert study_records.load(database, "s").state == "active"
    shop.end("user_code", message=traceback)
    assert shop.record.state == "stopped"
    assert shop.record.reason == "5 of the last 7 trials failed: ValueError: no good"
    assert shop.refusal() == (True, "stopped")

    # Resumed, it begins to count anew.
    control.steer(database, shop.study_id, "resume")
    shop.end(*["oom"] * 4)
    assert study_records.load(database, "s").state == "active"
    shop.end("oom")
    assert shop.record.reason == "5 of the last 5 trials failed: oom"


def test_lost_and_cancelled_trials_do_not_stop_a_study(database: Database) -> None:
    shop = Shop(database, trials=40)
    for lease in shop.claim(6):
        control.cancel(database, shop.study_id, [lease.number])
    shop.end(*["lost"] * 6)
    shop.end("user_code", "complete", "user_code", "complete", "user_code", "complete")
    assert shop.record.state == "active"


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        ([True] * 4, False),
        ([True] * 5, True),
        ([True] * 5 + [False] * 2, True),
        ([True] * 6 + [False] * 4, False),
        ([True] * 7 + [False] * 3, True),
        ([], False),
    ],
)
def test_what_trips_the_breaker(failed: list[bool], expected: bool) -> None:
    assert breaker.trips(failed) is expected


def test_an_enqueued_trial_waits_for_a_budget(database: Database) -> None:
    shop = Shop(database, trials=1)
    shop.end("complete")
    queueing.enqueue(database, shop.study_id, {})
    assert shop.refusal() == (True, "budget")
    kit.set_budget(database, shop.study_id, Budget(trials=2, epochs=3))
    assert [lease.number for lease in shop.claim(9)] == [1]
    assert shop.states == ["COMPLETE", TrialState.RUNNING.name]


@pytest.mark.parametrize("reason", ["stopped", "failed"])
def test_a_study_whose_budget_is_spent_is_done_when_it_is_resumed(
    database: Database, reason: str
) -> None:
    shop = Shop(database, trials=2)
    shop.end("complete")
    (lease,) = shop.claim()
    assert spending.extension_command(database, shop.study_id) == ""
    if reason == "stopped":
        control.steer(database, shop.study_id, "stop")
        # What runs ends with it.
        assert spending.extension_command(database, shop.study_id) == "hpo update s --trials N"
        shop.ledger.settle([kit.outcome(lease, "pruned", reason="stopped")])
    else:
        shop.ledger.settle([kit.outcome(lease, "failed", reason="user_code")])
        study_endings.stop(database, shop.study_id, "its trials failed")
    assert spending.extension_command(database, shop.study_id) == "hpo update s --trials N"

    assert control.steer(database, shop.study_id, "resume") == "stopped"
    record = study_records.load(database, "s")
    assert (record.state, record.reason) == ("done", "budget")
    with pytest.raises(HpoError) as raised:
        control.steer(database, shop.study_id, "resume")
    assert raised.value.hint == "`hpo update s --trials N` gives it more to do"


def test_a_study_whose_trial_was_put_down_goes_on_when_it_is_resumed(database: Database) -> None:
    shop = Shop(database, trials=1)
    (lease,) = shop.claim()
    control.steer(database, shop.study_id, "pause")
    shop.ledger.settle([kit.outcome(lease, "paused", epoch=1)])
    control.steer(database, shop.study_id, "stop")
    assert spending.extension_command(database, shop.study_id) == ""
    control.steer(database, shop.study_id, "resume")
    assert [again.trial_id for again in shop.claim()] == [lease.trial_id]


@pytest.mark.parametrize(
    ("trials", "reason"), [(None, "exhausted"), (9, "exhausted"), (3, "budget")]
)
def test_a_grid_that_is_used_up_before_its_budget_is_exhausted(
    database: Database, trials: int | None, reason: str
) -> None:
    limits = {"hours": 9.0} if trials is None else {"trials": trials}
    spec = StudySpec(
        name="s",
        task="digits-mlp",
        metric="val_accuracy",
        direction="maximize",
        budget={**limits, "epochs": 3},
        space={"depth": {"low": 1, "high": 3}},
        sampler="grid",
    )
    shop = Shop(database, spec)
    shop.end("complete", "complete", "user_code")
    assert shop.refusal() == (True, reason)
    assert (shop.record.state, shop.record.reason) == ("done", reason)
    # Its place in the budget is that of the failed one.
    assert queueing.retry(database, shop.study_id) == {2: 3}
    shop.end("complete")
    assert shop.refusal() == (True, reason)
    more = spending.extension_command(database, shop.study_id)
    assert more == ("hpo update s --trials N" if reason == "budget" else "")
