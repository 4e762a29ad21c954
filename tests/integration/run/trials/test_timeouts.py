"""How long a trial has trained, over all its attempts, and the end of one that hangs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpo.run.link.watchdog import Watchdog
from hpo.run.worker.worker_loop import Heartbeat
from hpo.spec.study_spec import Budget
from hpo.store.db.database import Database
from hpo.store.ledger.leases import Claim, Lease, Outcome, OutcomeState
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import queueing, study_records
from tests.kits import ledger_kit as kit
from tests.kits.contexts import context_at

pytestmark = pytest.mark.integration


class Held:
    """An executor of which only what it holds matters."""

    wanted = 0
    usage = None

    def __init__(self, *leases: Lease) -> None:
        self.held = frozenset(lease.trial_id for lease in leases)

    def claim(self) -> Claim:
        raise NotImplementedError

    def continue_offline(self) -> None: ...

    def begin(self, leases: Sequence[Lease]) -> None: ...

    def work(self) -> None: ...

    def release(self) -> None: ...


def test_a_continued_trial_brings_the_seconds_of_its_epochs_along(database: Database) -> None:
    study_id = kit.new_study(database, trials=2)
    worker_id = kit.new_worker(database, study_id)
    ledger = Ledger(database)
    first, other = ledger.claim(study_id, worker_id, 2).leases
    assert first.seconds == other.seconds == 0.0
    ledger.report([replace(kit.epoch_row(first, epoch), seconds=1.25) for epoch in (1, 2)])
    ledger.settle([kit.outcome(lease, "released") for lease in (first, other)])
    again = ledger.claim(study_id, worker_id, 2).leases
    assert [lease.seconds for lease in again] == [2.5, 0.0]
    # So does one whose claim was answered to nobody.
    mislaid = ledger.claim(study_id, worker_id, 2).leases
    assert [lease.seconds for lease in mislaid] == [2.5, 0.0]


def test_a_heartbeat_brings_the_limit_as_it_is_now(database: Database) -> None:
    study_id = kit.new_study(database)
    worker_id = kit.new_worker(database, study_id)
    ledger = Ledger(database)
    assert ledger.renew(worker_id).trial_s is None
    kit.set_budget(database, study_id, Budget(trials=5, epochs=3, trial_hours=0.5))
    assert ledger.renew(worker_id).trial_s == 1800.0
    assert study_records.load(database, "s").budget.trial_hours == 0.5
    kit.set_budget(database, study_id, Budget(trials=5, epochs=3))
    assert ledger.renew(worker_id).trial_s is None


def test_the_heart_ends_a_trial_that_hangs(database: Database, tmp_path: Path) -> None:
    study_id = kit.new_study(database, trials=2, trial_hours=0.5)
    context = context_at(database, "s", tmp_path / "artifacts")
    (lease,) = context.ledger.claim(study_id, context.worker_id, 1).leases
    now_s, said = [0.0], list[str]()
    context.watchdog = Watchdog(lambda: now_s[0])
    heartbeat = Heartbeat(context, Held(lease), 3600.0, said.append)
    with context.watchdog.watch([lease]):
        now_s[0] = 1799.0
        heartbeat.beat()
        assert said == []
        assert kit.states(database, study_id) == ["RUNNING"]
        now_s[0] = 1801.0
        heartbeat.beat()
    assert [line.partition(":")[0] for line in said] == [f"trial {lease.number}"]
    assert kit.states(database, study_id) == ["FAIL"]
    (event,) = kit.recent_events(database, study_id)
    assert (event.kind, event.trial_id) == ("timeout", lease.trial_id)
    assert "has not come back for 30.0 min" in event.message
    assert queueing.retry(database, study_id, reasons=["timeout"]) == {lease.number: 1}


@pytest.mark.parametrize("end", ["complete", "released"])
def test_a_trial_that_comes_back_in_the_last_moment_keeps_its_worker(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: OutcomeState
) -> None:
    study_id = kit.new_study(database, trials=2, trial_hours=0.5)
    context = context_at(database, "s", tmp_path / "artifacts")
    (lease,) = context.ledger.claim(study_id, context.worker_id, 1).leases
    now_s = [0.0]
    context.watchdog = Watchdog(lambda: now_s[0])
    settle: Callable[[list[Outcome]], set[int]] = context.client.settle

    def too_late(outcomes: list[Outcome]) -> set[int]:
        context.ledger.settle([kit.outcome(lease, end)])
        return settle(outcomes)

    monkeypatch.setattr(context.client, "settle", too_late)
    with context.watchdog.watch([lease]):
        now_s[0] = 1801.0
        Heartbeat(context, Held(lease), 3600.0, pytest.fail).beat()
    assert kit.states(database, study_id) == [{"complete": "COMPLETE"}.get(end, "RUNNING")]
