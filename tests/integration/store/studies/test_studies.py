"""Studies: created once, joined by the same spec, gone with everything of theirs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from hpo.errors import SpecError, StoreError
from hpo.spec.study_spec import Budget
from hpo.store.db import hpo_tables, optuna_tables
from hpo.store.db.database import Database
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.rows import decision_log
from hpo.store.studies import control, studies, study_records
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration
LoadStudy = Callable[[str], optuna.Study]


def test_a_study_is_created_once_and_then_joined(database: Database) -> None:
    spec = kit.spec(hours=2.0, target=0.9)
    created, is_new = studies.create_or_join(database, spec, "/base")
    joined, is_new_again = studies.create_or_join(database, spec, "/elsewhere")

    assert (is_new, is_new_again) == (True, False)
    assert joined == created == study_records.load(database, "s")
    assert (created.spec, created.budget, created.digest) == (spec, spec.budget, spec.digest)
    assert (created.state, created.base_dir, created.reason) == ("active", "/base", None)
    assert created.deadline_at == created.created_at + timedelta(hours=2)
    assert study_records.names(database) == ["s"]


def test_directions_reach_optuna(database: Database, plain_optuna: LoadStudy) -> None:
    spec = kit.spec().model_copy(
        update={"metric": ("a", "b"), "direction": ("minimize", "maximize")}
    )
    studies.create_or_join(database, spec, None)
    assert [direction.name for direction in plain_optuna("s").directions] == [
        "MINIMIZE",
        "MAXIMIZE",
    ]


def test_another_budget_alone_updates_the_budget(database: Database) -> None:
    study_id = kit.new_study(database, trials=5)
    record, is_new = studies.create_or_join(database, kit.spec(trials=9, hours=1.0), None)

    assert (record.study_id, is_new, record.budget.trials) == (study_id, False, 9)
    assert record.spec.budget == Budget(trials=9, epochs=3, hours=1.0)
    assert record.deadline_at == record.created_at + timedelta(hours=1)
    assert [event.kind for event in kit.recent_events(database, study_id)] == ["budget"]


def test_a_budget_that_was_updated_stays_until_another_is_given(database: Database) -> None:
    def trials_of(**given: Any) -> int | None:
        record, _ = studies.create_or_join(database, kit.spec(**given), None)
        return record.budget.trials

    study_id = kit.new_study(database, trials=5)
    kit.set_budget(database, study_id, Budget(trials=8, epochs=3))
    assert trials_of(trials=5) == 8
    assert trials_of(trials=6) == 6
    kit.set_budget(database, study_id, Budget(trials=8, epochs=3))
    assert trials_of(trials=6) == 8
    # Given, though it is what holds: then the one before is another.
    assert trials_of(trials=8) == 8
    assert trials_of(trials=6) == 6
    # A run by name gives no budget, except by its options.
    kit.set_budget(database, study_id, Budget(trials=8, epochs=3))
    record, _ = studies.create_or_join(database, kit.spec(trials=8), None, by_name=True)
    assert record.budget.trials == 8
    assert trials_of(trials=6) == 8
    record, _ = studies.create_or_join(database, kit.spec(trials=9), None, by_name=True)
    assert record.budget.trials == 9
    assert trials_of(trials=6) == 9


def test_another_spec_is_refused_with_what_differs(database: Database) -> None:
    kit.new_study(database)
    other = kit.spec(direction="minimize", trials=9)
    with pytest.raises(SpecError) as caught:
        studies.create_or_join(database, other, None)
    assert "another study called s is in the database" in str(caught.value)
    assert '-direction = "maximize"' in str(caught.value)
    assert '+direction = "minimize"' in str(caught.value)
    assert study_records.load(database, "s").budget.trials == 5


def test_a_misspelt_name_is_answered_with_the_nearest(database: Database) -> None:
    kit.new_study(database, "digits-mlp")
    with pytest.raises(
        SpecError, match=r"no study called digitsmlp in .*; did you mean digits-mlp"
    ):
        study_records.load(database, "digitsmlp")


def test_a_study_of_optunas_is_left_alone(database: Database, plain_optuna: LoadStudy) -> None:
    kit.new_study(database, "ours")
    storage = plain_optuna("ours")._storage
    optuna.create_study(study_name="theirs", storage=storage)

    with pytest.raises(StoreError, match="theirs was not created by hpo"):
        study_records.load(database, "theirs")
    with pytest.raises(StoreError, match="theirs was not created by hpo"):
        studies.create_or_join(database, kit.spec("theirs"), None)
    assert study_records.names(database) == ["ours"]


def test_several_threads_create_one_study(database: Database) -> None:
    answers = []
    barrier = threading.Barrier(6)

    def create() -> None:
        barrier.wait()
        answers.append(studies.create_or_join(database, kit.spec(), None))

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(is_new for _, is_new in answers) == [False] * 5 + [True]
    assert len({record.study_id for record, _ in answers}) == 1


def test_a_done_study_goes_on_only_when_its_budget_grew(database: Database) -> None:
    study_id = kit.new_study(database, trials=5)
    kit.set_state(database, study_id, "done", "budget")
    kit.set_budget(database, study_id, Budget(trials=4, epochs=3))
    assert study_records.load(database, "s").state == "done"
    kit.set_budget(database, study_id, Budget(trials=6, epochs=3))
    assert (study_records.load(database, "s").state, study_records.load(database, "s").reason) == (
        "active",
        None,
    )


def test_pausing_twice_is_recorded_once(database: Database) -> None:
    study_id = kit.new_study(database)
    assert control.steer(database, study_id, "pause") == "active"
    assert control.steer(database, study_id, "pause") == "paused"
    assert study_records.load(database, "s").state == "paused"
    assert [event.kind for event in kit.recent_events(database, study_id)] == ["paused"]


def _with_rows_everywhere(database: Database, name: str) -> int:
    study_id = kit.new_study(database, name)
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    one, two, _ = ledger.claim(study_id, worker_id, 3).leases
    ledger.report([kit.epoch_row(one, 1), kit.epoch_row(two, 1)])
    ledger.settle([kit.outcome(one, reason="noted"), kit.outcome(two, "paused", reason="noted")])
    decision_log.add(database, study_id, worker_id, "{}")
    return study_id


def _counts(database: Database) -> dict[str, int]:
    with database.read() as conn:
        return {
            name: conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for name, table in hpo_tables.metadata.tables.items()
            if name not in ("hpo_stack", "hpo_last_id")  # Of no study.
        }


@pytest.mark.parametrize("how", ["hpo", "optuna"])
def test_deleting_a_study_takes_our_rows_along(
    database: Database, plain_optuna: LoadStudy, how: str
) -> None:
    study_id = _with_rows_everywhere(database, "s")
    other = _with_rows_everywhere(database, "other")
    before = _counts(database)
    assert all(before.values())

    if how == "hpo":
        assert studies.delete(database, study_id)
        assert not studies.delete(database, study_id)
    else:
        storage = plain_optuna("s")._storage
        # Optuna deletes trial by trial, over a connection of its own with its own settings.
        optuna.delete_study(study_name="s", storage=storage)

    assert _counts(database) == {name: n // 2 for name, n in before.items()}
    assert study_records.names(database) == ["other"]
    assert kit.states(database, other) == ["COMPLETE", "RUNNING", "RUNNING"]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_what_workers_add_while_optuna_deletes_a_study_goes_too(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = _with_rows_everywhere(database, "s")
    ledger, worker_id = Ledger(database), kit.new_worker(database, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    study = plain_optuna("s")

    def add(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("DELETE") and not added:
            # Optuna has read the trials and what hangs on them; the first row is about to go.
            added.append(statement)
            storage = Storage(database)
            storage.set_trial_user_attr(lease.trial_id, "late", 1)
            ledger.report([kit.epoch_row(lease, 1, 0.25)])
            storage.create_new_trial(study_id)

    added: list[str] = []
    cached: Any = study._storage
    sa.event.listen(cached._backend.engine, "before_cursor_execute", add)
    optuna.delete_study(study_name="s", storage=study._storage)

    assert added
    with database.read() as conn:
        for table in (*hpo_tables.metadata.sorted_tables, *optuna_tables.metadata.sorted_tables):
            if table.name not in ("hpo_last_id", "version_info"):
                assert conn.scalar(sa.select(sa.func.count()).select_from(table)) == 0, table.name


def test_ids_that_sqlite_would_give_again_are_left_out(sqlite_database: Database) -> None:
    old_study = _with_rows_everywhere(sqlite_database, "s")
    old_trials = [row.trial_id for row in kit.lease_rows(sqlite_database, old_study)]
    storage = optuna.storages.RDBStorage(sqlite_database.url)
    optuna.delete_study(study_name="s", storage=storage)
    theirs = optuna.create_study(study_name="theirs", storage=storage)
    assert theirs._study_id == old_study
    with pytest.raises(StoreError, match="not created by hpo"):
        study_records.load(sqlite_database, "theirs")
    optuna.delete_study(study_name="theirs", storage=storage)
    storage.engine.dispose()

    study_id = kit.new_study(sqlite_database, "new")
    ledger, worker_id = Ledger(sqlite_database), kit.new_worker(sqlite_database, study_id)
    leases = ledger.claim(study_id, worker_id, 3).leases

    # A worker that does not know yet that its study is gone can mean none of the new rows.
    assert study_id > old_study
    assert min(lease.trial_id for lease in leases) > max(old_trials)
    assert Ledger(sqlite_database).renew(worker_id - 1).state == "gone"
    assert [(lease.number, lease.epoch, lease.attempt) for lease in leases] == [
        (0, 0, 1),
        (1, 0, 1),
        (2, 0, 1),
    ]
    assert kit.epochs_of(sqlite_database, leases[0].trial_id) == []
    assert kit.recent_events(sqlite_database, study_id) == []
