"""What a watcher sees of a study, over real databases."""

from __future__ import annotations

import datetime
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from hpo.errors import HpoError
from hpo.report.activity import rates
from hpo.report.activity.database_activity import database_activity
from hpo.report.activity.study_activity import study_activity
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_worker
from hpo.store.ledger import workers
from hpo.store.studies import control, renaming, studies
from tests.kits.cli_kit import SPEC, fill, fill_with_optuna

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


def age(db: Database, seconds: float) -> None:
    """Lets this time pass on the database's clock."""
    db.clock_offset += datetime.timedelta(seconds=seconds)


def beat(db: Database, **values: Any) -> None:
    with db.write() as conn:
        conn.execute(sa.update(hpo_worker).values(**values))


def test_a_running_study(database: Database) -> None:
    fill(database)
    age(database, 10.0)
    page = study_activity(database, "digits")
    (trial,) = page.running
    assert (trial.number, trial.epoch, trial.epoch_stop, trial.attempt) == (5, 2, 4, 1)
    assert trial.values == pytest.approx((0.08, 0.09))
    assert trial.value == pytest.approx(0.09)
    (worker,) = page.workers
    assert (worker.state, worker.n_trials, worker.worker.device) == ("live", 1, "cpu")
    assert (trial.host, trial.pid, trial.device) == (worker.worker.host, worker.worker.pid, "cpu")
    assert page.snapshot.best is not None
    assert page.snapshot.best.number == 2
    assert page.curve["val_accuracy"][0] == (1, 2, 3, 4)
    # Five trials have ended, and six have reported 18 epochs, since the worker started.
    assert page.rates is not None
    assert (page.rates.n_trials, page.rates.n_epochs) == (5, 18)
    assert page.rates.window_s == pytest.approx(10.0, abs=5.0)
    n_left, per_s = 10 - 5, 5 / page.rates.window_s
    assert page.left.about_s == pytest.approx(n_left / per_s)
    assert page.left.at_most_s == pytest.approx((40 - 18) / (18 / page.rates.window_s))
    assert [event.number for event in page.events if event.kind == "user_code"] == [3]
    assert not page.has_ended


def test_rates_are_those_of_the_shortest_window_in_which_enough_was_done(
    sqlite_database: Database,
) -> None:
    db = sqlite_database
    study_id = fill(db)
    now = datetime.datetime(2030, 1, 1)
    hours = datetime.timedelta(hours=1)
    with db.write() as conn:
        # All epochs were reported three hours ago but one of the running trial, ten minutes ago.
        conn.execute(sa.update(hpo_epoch).values(reported_at=now - 3 * hours))
        conn.exec_driver_sql(
            "UPDATE hpo_epoch SET reported_at = '2029-12-31 23:51:00.000000' "
            "WHERE trial_id = 6 AND epoch = 2"
        )
        conn.exec_driver_sql("UPDATE hpo_lease SET updated_at = '2029-12-31 23:51:00.000000'")
        conn.exec_driver_sql("UPDATE trials SET datetime_complete = '2029-12-31 21:00:00.000000'")
    with db.read() as conn:
        long_ago = rates.rates_of(conn, study_id, now - 24 * hours, now)
        lately = rates.rates_of(conn, study_id, now - hours / 4, now)
        just_now = rates.rates_of(conn, study_id, now - hours / 3600, now)
        idle = rates.rates_of(conn, study_id, now - hours / 60, now)
    assert long_ago == rates.Rates(86_400.0, 5, 18)
    assert lately == rates.Rates(900.0, 0, 1)
    assert (just_now, idle) == (None, None)


def test_a_dead_worker_is_shown_with_the_trials_that_it_holds(database: Database) -> None:
    fill(database)
    # Another machine's worker, whose process cannot be looked at from here.
    beat(database, machine="another", host="far")
    for seconds, state in ((1, "live"), (30, "silent"), (60, "dead")):
        age(database, seconds)
        page = study_activity(database)
        assert [(each.state, each.n_trials) for each in page.workers] == [(state, 1)]
    assert page.running == ()
    assert page.snapshot.counts.waiting == 1
    assert (page.rates, page.n_live, page.has_ended) == (None, 0, False)
    (shown,) = database_activity(database).workers
    assert shown.state == "dead"


def test_dead_workers_of_long_ago_are_not_shown(sqlite_database: Database) -> None:
    db = sqlite_database
    study_id = fill(db)
    with db.write() as conn:
        conn.exec_driver_sql("DELETE FROM hpo_lease")
    beat(db, machine="another")
    age(db, 2 * 86_400.0)
    workers.register(db, study_id, "cuda:0")
    assert [each.worker.device for each in study_activity(db).workers] == ["cuda:0"]


def test_a_study_that_has_ended(database: Database) -> None:
    study_id = fill(database)
    control.steer(database, study_id, "stop")
    page = study_activity(database)
    assert not page.has_ended
    workers.retire(database, page.workers[0].worker.worker_id)
    page = study_activity(database)
    assert page.has_ended
    assert page.rates is None
    assert page.ended_at is not None
    assert page.elapsed_s is not None
    assert 0 <= page.elapsed_s < 60


def test_a_study_is_followed_when_it_is_renamed_and_told_when_it_is_deleted(
    sqlite_database: Database,
) -> None:
    db = sqlite_database
    study_id = fill(db)
    page = study_activity(db, "digits")
    renaming.rename(db, study_id, "numbers")
    page = study_activity(db, "digits", page)
    assert page.subject.name == "numbers"
    studies.delete(db, study_id)
    with pytest.raises(HpoError, match="numbers was deleted"):
        study_activity(db, "digits", page)


def test_studies_of_optuna_are_shown_too(sqlite_database: Database) -> None:
    fill_with_optuna(sqlite_database)
    study = optuna.load_study(study_name="two", storage=sqlite_database.url)
    study.ask()
    page = study_activity(sqlite_database, "two")
    (trial,) = page.running
    assert (trial.worker_id, trial.epoch, trial.value) == (None, None, None)
    assert (page.workers, page.elapsed_s) == ((), None)
    assert page.left == rates.TimeLeft()
    assert study_activity(sqlite_database, "infinite").snapshot.best is not None


def test_busy_studies_are_the_first_of_a_database(sqlite_database: Database) -> None:
    db = sqlite_database
    fill_with_optuna(db)
    fill(db)
    age(db, 20.0)
    page = database_activity(db)
    assert [load.row.subject.name for load in page.studies] == ["digits", "two", "infinite"]
    assert [load.rates is not None for load in page.studies] == [True, False, False]
    studies.create_or_join(db, StudySpec(**{**SPEC.to_table(), "name": "other"}), None)
    assert [load.row.subject.name for load in database_activity(db).studies][:2] == [
        "digits",
        "other",
    ]
