"""What reports read, on every kind of database."""

from __future__ import annotations

import math

import pytest
import sqlalchemy as sa

from hpo.errors import SpecError, StoreError
from hpo.report.overview import overview
from hpo.report.progress import last_event, snapshot
from hpo.report.study_list import list_studies
from hpo.report.study_queries import find
from hpo.report.trial_pages import Page, best_trials, list_trials
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.ledger import workers
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import studies
from hpo.store.studies.trial_states import Counts
from tests.kits import ledger_kit as kit
from tests.kits.cli_kit import SPEC, fill, fill_with_optuna

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


@pytest.fixture
def filled(database: Database) -> Database:
    fill(database)
    return database


def test_the_list_of_studies(filled: Database) -> None:
    fill_with_optuna(filled)
    rows, now = list_studies(filled)
    digits, infinite, two = rows
    assert [row.subject.name for row in rows] == ["digits", "infinite", "two"]
    assert digits.counts == Counts(complete=3, pruned=1, failed=1, running=1)
    assert (digits.subject.state, digits.subject.n_trials) == ("active", 10)
    assert (digits.best, digits.subject.metrics, digits.n_workers) == (0.75, ("val_accuracy",), 1)
    assert digits.updated_at is not None
    assert 0 <= (now - digits.updated_at).total_seconds() < 60
    assert (infinite.subject.state, infinite.best) == ("optuna", -math.inf)
    assert (two.subject.metrics, two.best) == (("cost", "gain"), None)


def test_progress(filled: Database) -> None:
    subject = find(filled, "digits")
    found = snapshot(filled, subject)
    assert found.counts.finished == 5
    assert found.n_epochs == 3 * 4 + 3 * 2
    assert found.best is not None
    assert (found.best.number, found.best.value, found.best.best_epoch) == (2, 0.75, 3)
    assert found.best.params["optimizer"] == "sgd"
    assert (found.best.user_attrs, found.best.test) == ({"best_epoch": 3}, {})
    assert found.failure is not None
    assert (found.failure.number, found.failure.kind) == (3, "user_code")
    again = snapshot(
        filled, subject, since_event=last_event(filled, subject.study_id), best=found.best
    )
    assert again.failure is None
    assert again.best is found.best


def test_a_trial_that_was_lost_too_often_fails_by_its_last_event(sqlite_database: Database) -> None:
    kit.new_study(sqlite_database, trials=1)
    subject = find(sqlite_database, "s")
    ledger = Ledger(sqlite_database)
    for _ in range(3):
        worker_id = workers.register(sqlite_database, subject.study_id, "cpu")
        assert ledger.claim(subject.study_id, worker_id, 1).leases
        workers.retire(sqlite_database, worker_id, lost=True)
    found = snapshot(sqlite_database, subject)
    assert (found.counts.failed, found.failure is not None) == (1, True)
    assert found.failure is not None
    assert "goes on" not in found.failure.message
    assert "3 times" in found.failure.message


def test_progress_takes_few_queries_however_many_trials_there_are(
    sqlite_database: Database,
) -> None:
    db = sqlite_database
    fill(db)
    subject = find(db, "digits")
    known = snapshot(db, subject).best
    statements: list[str] = []
    sa.event.listen(
        db.engine, "before_cursor_execute", lambda c, cur, sql, *rest: statements.append(sql)
    )
    snapshot(db, subject, since_event=last_event(db, subject.study_id), best=known)
    queries = [sql for sql in statements if sql.startswith("SELECT")]
    assert len(queries) <= 9
    assert not [sql for sql in queries if "hpo_epoch" in sql or "intermediate" in sql]


@pytest.mark.parametrize(
    ("page", "numbers"),
    [
        (Page(), [0, 1, 2, 3, 4, 5]),
        (Page(limit=2), [0, 1]),
        (Page("best"), [2, 4, 0, 1, 3, 5]),
        (Page("best", limit=1), [2]),
        (Page(states=("FAIL", "RUNNING")), [3, 5]),
        (Page("best", ("PRUNED", "COMPLETE"), 2), [2, 4]),
    ],
)
def test_pages_of_trials(sqlite_database: Database, page: Page, numbers: list[int]) -> None:
    fill(sqlite_database)
    found = list_trials(sqlite_database, find(sqlite_database), page)
    assert [trial.number for trial in found] == numbers


def test_a_trial_is_shown_in_full(filled: Database) -> None:
    trials = list_trials(filled, find(filled), Page("duration"))
    assert trials[-1].number == 5
    assert trials[-1].duration_s is None
    durations = [trial.duration_s for trial in trials[:-1]]
    assert all(seconds is not None and seconds > 0 for seconds in durations)
    by_number = {trial.number: trial for trial in trials}
    assert list(by_number[0].params) == ["learning_rate", "width", "depth", "optimizer"]
    assert by_number[0].params["width"] in (32, 64)
    assert (by_number[1].reason, by_number[3].reason) == ("pruned", "user_code")
    assert (by_number[0].n_epochs, by_number[0].best_epoch) == (4, 3)
    assert (by_number[5].state, by_number[5].value) == ("RUNNING", None)


def test_best(filled: Database) -> None:
    (best,) = best_trials(filled, find(filled))
    assert best.number == 2
    assert best.metrics["val_accuracy"] == 0.75
    assert math.isnan(best.metrics["train_loss"])


def test_best_of_infinite_values_and_of_two_objectives(database: Database) -> None:
    fill_with_optuna(database)
    (best,) = best_trials(database, find(database, "infinite"))
    assert best.value == -math.inf
    front = best_trials(database, find(database, "two"))
    assert [trial.values for trial in front] == [(0.0, 0.0), (0.5, 1.0)]


def test_epochs_of_a_study_with_several_metrics(database: Database) -> None:
    spec = SPEC.to_table() | {"metric": ["a", "b"], "direction": ["minimize", "maximize"]}
    record, _ = studies.create_or_join(database, StudySpec(**spec), None)
    worker_id = workers.register(database, record.study_id, "cpu")
    ledger = Ledger(database)
    first, second = ledger.claim(record.study_id, worker_id, 2).leases
    for epoch in (1, 2, 3):
        ledger.report([kit.epoch_row(first, epoch, objective=None)])
    rows = list_trials(database, find(database, "digits"))
    shown = [(row.number, row.n_epochs, row.best_epoch) for row in rows]
    assert shown == [(first.number, 3, None), (second.number, 0, None)]


def test_overview(filled: Database) -> None:
    page = overview(filled, find(filled))
    endings = {(ending.state, ending.kind, ending.n, ending.number) for ending in page.endings}
    assert endings == {("PRUNED", "pruned", 1, 1), ("FAIL", "user_code", 1, 3)}
    assert [worker.device for worker in page.workers] == ["cpu"]
    assert "user_code" in [event.kind for event in page.events]
    assert page.n_epochs == 18


def test_a_name_may_be_left_out_where_there_is_one_study(sqlite_database: Database) -> None:
    with pytest.raises(StoreError, match="holds no study"):
        find(sqlite_database)
    fill(sqlite_database)
    assert find(sqlite_database).name == "digits"
    fill_with_optuna(sqlite_database)
    with pytest.raises(SpecError, match="holds 3 studies; name one of them: digits, infinite, two"):
        find(sqlite_database)
    with pytest.raises(SpecError, match=r"Did you mean digits\?"):
        find(sqlite_database, "digts")
    with pytest.raises(SpecError, match="There is digits, infinite, two"):
        find(sqlite_database, "qqqqqq")
