"""The ledger on every database: exact budgets, fencing, continuation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution

from hpo.errors import StoreError
from hpo.spec.study_spec import Budget
from hpo.store.db import optuna_schema
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch
from hpo.store.ledger import workers
from hpo.store.ledger.leases import Lease
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.studies import studies, study_records
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration
LoadStudy = Callable[[str], optuna.Study]


def test_claims_new_trials_up_to_the_budget(database: Database) -> None:
    study_id = kit.new_study(database, trials=5)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)

    first = ledger.claim(study_id, worker_id, 3)
    held = [lease.trial_id for lease in first.leases]
    second = ledger.claim(study_id, worker_id, 3, held)

    assert kit.numbers([*first.leases, *second.leases]) == [0, 1, 2, 3, 4]
    assert (second.leases[0].epoch, second.leases[0].epoch_stop) == (0, 3)
    assert second.leases[0].attempt == 1
    everything = {lease.trial_id for lease in [*first.leases, *second.leases]}
    nothing = ledger.claim(study_id, worker_id, 3, everything)
    assert (nothing.leases, nothing.exhausted, nothing.reason) == ((), False, "waiting")
    assert kit.states(database, study_id) == ["RUNNING"] * 5


def test_the_study_is_done_when_all_its_trials_have_ended(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = kit.new_study(database, trials=2)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    leases = ledger.claim(study_id, worker_id, 9).leases

    lost = ledger.settle(
        [
            kit.outcome(leases[0], values=(0.75,), user_attrs={"best_epoch": 2, "ü": ["💡"]}),
            kit.outcome(leases[1], "failed", reason="oom", message="out of memory\nin layer 3"),
        ]
    )
    claim = ledger.claim(study_id, worker_id, 1)

    assert lost == set()
    assert (claim.exhausted, claim.reason) == (True, "budget")
    assert kit.states(database, study_id) == ["COMPLETE", "FAIL"]
    record = study_records.load(database, "s")
    assert (record.state, record.reason) == ("done", "budget")
    assert kit.lease_rows(database, study_id) == []
    assert [event.kind for event in kit.recent_events(database, study_id)] == ["done", "oom"]
    study = plain_optuna("s")
    assert study.best_value == 0.75
    assert study.trials[0].user_attrs == {"best_epoch": 2, "ü": ["💡"]}
    assert study.trials[0].datetime_complete is not None
    assert study.trials[0].duration is not None
    assert study.trials[0].duration < timedelta(minutes=5)


def test_enqueued_trials_come_first_and_keep_their_numbers(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = kit.new_study(database, trials=3)
    study = plain_optuna("s")
    study.enqueue_trial({"learning_rate": 0.5})
    study.enqueue_trial({"learning_rate": 0.25})
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)

    leases = ledger.claim(study_id, worker_id, 3).leases

    assert kit.numbers(leases) == [0, 1, 2]
    assert kit.states(database, study_id) == ["RUNNING"] * 3
    assert study.trials[1].system_attrs["fixed_params"] == {"learning_rate": 0.25}


def test_an_enqueued_trial_beyond_the_budget_does_not_start(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = kit.new_study(database, trials=1)
    study = plain_optuna("s")
    study.enqueue_trial({"learning_rate": 0.5})
    study.enqueue_trial({"learning_rate": 0.25})
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)

    leases = ledger.claim(study_id, worker_id, 3).leases

    assert kit.numbers(leases) == [0]
    assert kit.states(database, study_id) == ["RUNNING", "WAITING"]


def test_a_claim_whose_answer_was_lost_is_answered_again(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    unheard = ledger.claim(study_id, worker_id, 2).leases

    again = ledger.claim(study_id, worker_id, 2).leases

    assert kit.numbers(again) == kit.numbers(unheard) == [0, 1]
    assert {lease.token for lease in again}.isdisjoint(lease.token for lease in unheard)
    assert ledger.report([kit.epoch_row(unheard[0], 1)]) == {unheard[0].trial_id}


def test_a_stale_token_writes_nothing(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger, first = Ledger(database), kit.new_worker(database, study_id)
    stale = ledger.claim(study_id, first, 1).leases[0]
    assert ledger.report([kit.epoch_row(stale, 1)]) == set()
    workers.retire(database, first)
    second = kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, second, 1).leases[0]
    assert lease.trial_id == stale.trial_id

    lost = ledger.report([kit.epoch_row(stale, 2)])
    settled = ledger.settle([kit.outcome(stale, values=(0.1,), user_attrs={"stale": True})])

    assert lost == settled == {stale.trial_id}
    assert kit.epochs_of(database, stale.trial_id) == [1]
    assert list(kit.steps_of(database, stale.trial_id)) == [1]
    assert kit.states(database, study_id) == ["RUNNING"]
    assert kit.values_of(database, stale.trial_id) == []
    assert ledger.settle([kit.outcome(lease, values=(0.9,))]) == set()
    assert kit.values_of(database, lease.trial_id) == [0.9]


def test_settling_twice_changes_nothing(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    ledger.settle([kit.outcome(lease, values=(0.9,))])

    lost = ledger.settle([kit.outcome(lease, "failed", reason="nan")])

    assert lost == {lease.trial_id}
    assert kit.states(database, study_id) == ["COMPLETE"]
    assert kit.values_of(database, lease.trial_id) == [0.9]
    assert kit.recent_events(database, study_id) == []


def test_reports_can_be_repeated_and_mixed_with_lost_ones(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = kit.new_study(database)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    kept, lost = ledger.claim(study_id, worker_id, 2).leases
    ledger.settle([kit.outcome(lost, "released")])
    rows = [
        kit.epoch_row(kept, 1, 0.25),
        kit.epoch_row(kept, 2, float("nan")),
        kit.epoch_row(kept, 2, 0.75),
        kit.epoch_row(lost, 1),
    ]

    answers = [ledger.report(rows), ledger.report(rows)]

    assert answers == [{lost.trial_id}] * 2
    assert kit.epochs_of(database, kept.trial_id) == [1, 2]
    assert kit.steps_of(database, kept.trial_id) == {1: 0.25, 2: None}
    assert kit.epochs_of(database, lost.trial_id) == []
    assert kit.lease_rows(database, study_id)[0].epoch == 2
    study = plain_optuna("s")
    assert study.trials[0].intermediate_values[2] != study.trials[0].intermediate_values[2]
    with database.read() as conn:
        stored = conn.execute(sa.select(hpo_epoch).where(hpo_epoch.c.epoch == 1)).one()
    assert json.loads(stored.metrics)["val_accuracy"] == 0.5
    assert (stored.attempt, stored.learning_rate) == (1, 0.1)


def test_values_that_no_column_holds_are_reported_all_the_same(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = kit.new_study(database)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    odd = replace(
        kit.epoch_row(lease, 1, float("inf")),
        learning_rate=float("inf"),
        samples_per_s=float("nan"),
        metrics={"loss": float("-inf"), "🙂": float("nan")},
    )
    plain = replace(kit.epoch_row(lease, 2, None), learning_rate=None, samples_per_s=None)

    assert ledger.report([odd, plain]) == set()

    assert kit.epochs_of(database, lease.trial_id) == [1, 2]
    study = plain_optuna("s")
    assert study.trials[0].intermediate_values == {1: float("inf")}


@pytest.mark.parametrize(("value", "state"), [(float("nan"), "FAIL"), (float("inf"), "COMPLETE")])
def test_a_value_that_is_nan_fails_the_trial(database: Database, value: float, state: str) -> None:
    study_id = kit.new_study(database)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]

    ledger.settle([kit.outcome(lease, values=(value,))])

    assert kit.states(database, study_id) == [state]


# Claim, params, report and settle of trials; a BEGIN is not counted.
STATEMENTS = {"sqlite": (6, 2, 4, 7), "postgresql": (5, 2, 1, 7), "mysql": (6, 2, 5, 8)}


@pytest.mark.parametrize("n", [1, 64])
def test_a_trial_takes_few_statements(database: Database, n: int) -> None:
    study_id = kit.new_study(database, trials=3 * n, epochs=10)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    storage, unit = Storage(database), FloatDistribution(0.0, 1.0)

    def trials() -> tuple[int, ...]:
        found: list[Lease] = []

        def claim() -> None:
            found.extend(ledger.claim(study_id, worker_id, n).leases)

        def give() -> None:
            params = {f"x{i}": (0.5, unit) for i in range(5)}
            storage.set_params([(lease.trial_id, params) for lease in found])

        def settle() -> None:
            ledger.settle([kit.outcome(x, user_attrs={"a": 1, "b": 2}) for x in found])

        def report() -> None:
            ledger.report([kit.epoch_row(lease, 1) for lease in found])

        return tuple(kit.n_statements(database, verb) for verb in (claim, give, report, settle))

    # The first ones learn which distributions the study uses.
    trials()
    seen = trials()

    more = n > 1 and database.dialect != "postgresql"
    claim, *others = STATEMENTS[database.dialect]
    assert seen == (claim + more, *others)
    assert kit.states(database, study_id) == ["COMPLETE"] * 2 * n


def test_statements_do_not_grow_with_the_number_of_lanes(database: Database) -> None:
    def turns(name: str, n: int) -> list[int]:
        study_id = kit.new_study(database, name, trials=n)
        ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
        leases: list[Lease] = []
        counts = [
            kit.n_statements(
                database, lambda: leases.extend(ledger.claim(study_id, worker_id, n).leases)
            )
        ]
        rows = [kit.epoch_row(lease, 1) for lease in leases]
        counts.append(kit.n_statements(database, lambda: ledger.report(rows)))
        ends = [kit.outcome(lease, user_attrs={"a": 1}) for lease in leases]
        counts.append(kit.n_statements(database, lambda: ledger.settle(ends)))
        assert kit.states(database, study_id) == ["COMPLETE"] * n
        return counts

    few, many = turns("few", 2), turns("many", 40)

    assert many == few
    assert max(many) < 25


def test_interrupted_trials_go_on_as_themselves(database: Database) -> None:
    study_id = kit.new_study(database, trials=2)
    ledger, first = Ledger(database), kit.new_worker(database, study_id)
    one, two = ledger.claim(study_id, first, 2).leases
    ledger.report([kit.epoch_row(one, 1), kit.epoch_row(one, 2)])
    ledger.settle(
        [
            kit.outcome(one, "released", reason="interrupted", checkpoint="/c/one", epoch=2),
            kit.outcome(two, "paused", epoch=0),
        ]
    )
    assert kit.n_running(database, study_id) == 2

    second = kit.new_worker(database, study_id)
    again = ledger.claim(study_id, second, 5).leases

    assert [lease.trial_id for lease in again] == [one.trial_id, two.trial_id]
    assert kit.numbers(again) == [0, 1]
    assert (again[0].epoch, again[0].checkpoint, again[0].attempt) == (2, "/c/one", 1)
    assert kit.epochs_of(database, one.trial_id) == [1, 2]


def test_pausing_and_stopping(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]

    kit.set_state(database, study_id, "paused")
    paused = ledger.claim(study_id, worker_id, 1, [lease.trial_id])
    renewal = ledger.renew(worker_id)
    assert (paused.leases, paused.exhausted, paused.reason) == ((), False, "paused")
    assert (renewal.state, renewal.ending) == ("paused", "")
    assert renewal.held == {lease.trial_id}

    kit.set_state(database, study_id, "stopped", "enough")
    stopped = ledger.claim(study_id, worker_id, 1, [lease.trial_id])
    assert (stopped.leases, stopped.exhausted, stopped.reason) == ((), True, "stopped")
    assert ledger.renew(worker_id).ending == "stopped"
    assert ledger.report([kit.epoch_row(lease, 1)]) == set()

    kit.set_state(database, study_id, "active")
    assert len(ledger.claim(study_id, worker_id, 1, [lease.trial_id]).leases) == 1


def test_the_target_ends_the_study(database: Database) -> None:
    study_id = kit.new_study(database, target=0.9)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    poor, good, free = ledger.claim(study_id, worker_id, 3).leases
    ledger.settle([kit.outcome(poor, values=(0.8,)), kit.outcome(free, "released")])
    assert study_records.load(database, "s").state == "active"

    ledger.settle([kit.outcome(good, values=(0.9,))])

    assert (study_records.load(database, "s").state, study_records.load(database, "s").reason) == (
        "done",
        "target",
    )
    claim = ledger.claim(study_id, worker_id, 1)
    assert (claim.leases, claim.exhausted, claim.reason) == ((), True, "target")
    assert kit.states(database, study_id) == ["COMPLETE", "COMPLETE", "PRUNED"]


@pytest.mark.parametrize(("direction", "good"), [("maximize", 0.9), ("minimize", 0.1)])
def test_a_report_that_reaches_the_target_ends_the_study(
    database: Database, direction: str, good: float
) -> None:
    spec = kit.spec(direction=direction, target=good, epochs=9)
    study_id = studies.create_or_join(database, spec, None)[0].study_id
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    first, second, free = ledger.claim(study_id, worker_id, 3).leases
    ledger.settle([kit.outcome(free, "paused")])
    near = [kit.epoch_row(lease, 1, objective=0.5) for lease in (first, second)]
    assert ledger.report([*near, kit.epoch_row(first, 2, objective=None)]) == set()
    assert study_records.load(database, "s").state == "active"

    assert ledger.report([kit.epoch_row(second, 2, good), kit.epoch_row(first, 3, 0.4)]) == set()

    study = study_records.load(database, "s")
    assert (study.state, study.reason) == ("done", "target")
    assert kit.steps_of(database, second.trial_id) == {1: 0.5, 2: good}
    assert kit.epochs_of(database, first.trial_id) == [1, 2, 3]
    assert kit.states(database, study_id) == ["RUNNING", "RUNNING", "PRUNED"]
    assert ledger.renew(worker_id).ending == "target"
    # What comes later is written as ever, and the end is told once.
    assert ledger.report([kit.epoch_row(second, 3, good)]) == set()
    assert [event.kind for event in kit.recent_events(database, study_id)].count("done") == 1


def test_a_target_that_was_reported_before_it_was_set_ends_the_study(database: Database) -> None:
    study_id = kit.new_study(database, epochs=9)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    ledger.report([kit.epoch_row(lease, 1, 0.7), kit.epoch_row(lease, 2, 0.6)])
    ledger.settle([kit.outcome(lease, "paused")])

    kit.set_budget(database, study_id, Budget(trials=5, epochs=9, target=0.8))
    assert study_records.load(database, "s").state == "active"
    kit.set_budget(database, study_id, Budget(trials=5, epochs=9, target=0.65))

    assert study_records.load(database, "s").reason == "target"


@pytest.mark.parametrize(("direction", "value"), [("minimize", 0.1), ("maximize", float("inf"))])
def test_a_target_set_later_is_seen_at_once(
    database: Database, direction: str, value: float
) -> None:
    spec = kit.spec(direction=direction)
    study_id = studies.create_or_join(database, spec, None)[0].study_id
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    ledger.settle([kit.outcome(lease, values=(value,))])

    kit.set_budget(database, study_id, Budget(trials=5, epochs=3, target=0.5))

    assert ledger.claim(study_id, worker_id, 1).reason == "target"


def test_a_target_that_another_program_reached_is_noticed(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = kit.new_study(database, target=0.9)
    trial = plain_optuna("s").ask()
    plain_optuna("s").tell(trial, 0.95)

    Ledger(database).reap(study_id)

    assert study_records.load(database, "s").reason == "target"


def test_the_deadline_is_the_databases(database: Database) -> None:
    study_id = kit.new_study(database, hours=1.0)
    ledger, worker_id = Ledger(database, grace_s=1e6), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    assert ledger.renew(worker_id).ending == ""

    database.clock_offset = timedelta(hours=1, seconds=1)
    assert ledger.renew(worker_id).ending == "deadline"
    claim = ledger.claim(study_id, worker_id, 1, [lease.trial_id])
    assert (claim.leases, claim.exhausted, claim.reason) == ((), True, "deadline")
    ledger.settle([kit.outcome(lease, "released")])
    assert kit.states(database, study_id) == ["PRUNED"]

    kit.set_budget(database, study_id, Budget(trials=5, epochs=3, hours=2.0))
    assert len(ledger.claim(study_id, worker_id, 1).leases) == 1


def test_total_epochs_are_never_exceeded(database: Database) -> None:
    study_id = kit.new_study(database, trials=10, epochs=3, total_epochs=7)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)

    leases = ledger.claim(study_id, worker_id, 10).leases
    assert [lease.epoch_stop for lease in leases] == [3, 3, 1]
    held = [lease.trial_id for lease in leases]
    assert ledger.claim(study_id, worker_id, 1, held).reason == "waiting"

    # The first is pruned after one epoch: what it had reserved comes back.
    ledger.report([kit.epoch_row(leases[0], 1)])
    ledger.settle([kit.outcome(leases[0], "pruned", epoch=1)])
    more = ledger.claim(study_id, worker_id, 10, held).leases
    assert [lease.epoch_stop for lease in more] == [2]

    for lease in (*leases[1:], *more):
        ledger.report([kit.epoch_row(lease, epoch + 1) for epoch in range(lease.epoch_stop)])
        ledger.settle([kit.outcome(lease, epoch=lease.epoch_stop)])
    claim = ledger.claim(study_id, worker_id, 10)
    assert (claim.leases, claim.exhausted, claim.reason) == ((), True, "budget")
    reported = [
        epoch for lease in (*leases, *more) for epoch in kit.epochs_of(database, lease.trial_id)
    ]
    assert len(reported) == 7


def test_a_free_trial_without_epochs_left_is_pruned_at_the_end(database: Database) -> None:
    study_id = kit.new_study(database, trials=2, epochs=3, total_epochs=4)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    one, two = ledger.claim(study_id, worker_id, 2).leases
    ledger.report([kit.epoch_row(one, epoch) for epoch in (1, 2, 3)])
    ledger.report([kit.epoch_row(two, 1)])
    ledger.settle([kit.outcome(one, epoch=3), kit.outcome(two, "released", epoch=1)])

    claim = ledger.claim(study_id, worker_id, 1)

    assert (claim.leases, claim.exhausted, claim.reason) == ((), True, "budget")
    assert kit.states(database, study_id) == ["COMPLETE", "PRUNED"]


def test_a_trial_with_all_its_epochs_is_handed_out_to_be_settled(database: Database) -> None:
    study_id = kit.new_study(database, trials=1, epochs=3, total_epochs=3)
    ledger, first = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, first, 1).leases[0]
    ledger.report([kit.epoch_row(lease, epoch) for epoch in (1, 2, 3)])
    workers.retire(database, first)

    again = ledger.claim(study_id, kit.new_worker(database, study_id), 1).leases[0]

    assert (again.epoch, again.epoch_stop) == (3, 3)


def test_budgets_of_a_running_study_can_be_raised_and_lowered(database: Database) -> None:
    study_id = kit.new_study(database, trials=2)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    for lease in ledger.claim(study_id, worker_id, 2).leases:
        ledger.settle([kit.outcome(lease)])
    assert ledger.claim(study_id, worker_id, 1).exhausted

    kit.set_budget(database, study_id, Budget(trials=4, epochs=3))
    assert study_records.load(database, "s").state == "active"
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    kit.set_budget(database, study_id, Budget(trials=3, epochs=3))
    assert ledger.claim(study_id, worker_id, 1, [lease.trial_id]).reason == "waiting"
    ledger.settle([kit.outcome(lease)])

    assert ledger.claim(study_id, worker_id, 1).reason == "budget"
    assert kit.states(database, study_id) == ["COMPLETE"] * 3


def test_a_trial_that_plain_optuna_finished_is_let_go(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = kit.new_study(database, trials=2)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    study = plain_optuna("s")
    study.tell(0, state=optuna.trial.TrialState.FAIL)

    assert ledger.report([kit.epoch_row(lease, 1)]) == {lease.trial_id}
    assert ledger.settle([kit.outcome(lease)]) == {lease.trial_id}
    other = ledger.claim(study_id, worker_id, 5).leases

    assert kit.numbers(other) == [1]
    assert [row.trial_id for row in kit.lease_rows(database, study_id)] == [other[0].trial_id]
    assert kit.states(database, study_id) == ["FAIL", "RUNNING"]


def test_hpo_and_plain_optuna_number_trials_together(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = kit.new_study(database, trials=4)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    study = plain_optuna("s")

    ours = [*ledger.claim(study_id, worker_id, 1).leases]
    study.ask()
    ours += ledger.claim(study_id, worker_id, 5, [ours[0].trial_id]).leases

    assert kit.numbers(ours) == [0, 2, 3]
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]


def test_tokens_differ_between_studies(database: Database) -> None:
    tokens = set()
    for name in ("a", "b"):
        study_id = kit.new_study(database, name)
        worker_id = kit.new_worker(database, study_id)
        leases = Ledger(database).claim(study_id, worker_id, 5).leases
        tokens |= {lease.token for lease in leases}
    assert len(tokens) == 10


def test_unknown_studies_and_workers_are_errors(database: Database) -> None:
    study_id = kit.new_study(database)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    with pytest.raises(StoreError, match="worker 999 is not registered"):
        ledger.claim(study_id, 999, 1)
    studies.delete(database, study_id)
    with pytest.raises(StoreError, match="was it deleted"):
        ledger.claim(study_id, worker_id, 1)
    renewal = ledger.renew(worker_id)
    assert (renewal.state, renewal.ending, renewal.held) == ("gone", "gone", frozenset())


def test_optuna_keeps_its_tables_and_rows(database: Database, plain_optuna: LoadStudy) -> None:
    """What the ledger wrote, Optuna's own schema check and reader accept."""
    study_id = kit.new_study(database, trials=1)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    ledger.report([kit.epoch_row(lease, 1)])
    ledger.settle([kit.outcome(lease, "pruned", values=(0.5,), reason="pruned")])

    optuna_schema.check_version(database.engine)
    trial = plain_optuna("s").trials[0]
    assert (trial.state.name, trial.value, trial.intermediate_values) == ("PRUNED", 0.5, {1: 0.5})
