"""What loggers are given: each epoch once, also after kills, pauses and errors of a logger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.run.loggers.follower import Follower
from hpo.run.loggers.logger import LoggedEpoch, LoggedTrial
from hpo.run.loggers.logger_journal import LoggerJournal
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.studies import logger_leases
from tests.kits.ledger_kit import set_state
from tests.kits.logged_trials import LoggedTrials, RecordingLogger

pytestmark = [pytest.mark.integration]


@pytest.fixture
def trials(database: Database, tmp_path: Path) -> LoggedTrials:
    return LoggedTrials(database, tmp_path)


def test_a_trial_is_logged_as_it_trains_pauses_and_ends(trials: LoggedTrials) -> None:
    logger = RecordingLogger()
    follower = trials.follower(logger)
    lease = trials.claim()
    trials.report(lease, [1, 2])
    assert follower.step() == 2
    assert follower.step() == 0
    trials.settle(lease, "released", 2)
    follower.step()
    again = trials.claim()
    assert again.trial_id == lease.trial_id
    trials.report(again, [3])
    trials.settle(again, "complete", 3, 0.75)
    assert follower.step() == 2
    assert logger.calls == [
        "begin 0",
        "log 0: [1, 2]",
        "pause 0",
        "begin 0",
        "log 0: [3]",
        "end 0: COMPLETE",
    ]
    assert set(logger.trials[0].params) == {"learning_rate"}
    ending = logger.endings[0]
    assert (ending.values, ending.best_epoch, ending.is_best) == ({"val_accuracy": 0.75}, 3, True)


def test_a_new_process_continues_where_the_place_says_and_ends_nothing_twice(
    trials: LoggedTrials,
) -> None:
    first, second = trials.claim(), trials.claim()
    trials.report(first, [1, 2, 3])
    trials.settle(first, "pruned", 3, 0.5)
    trials.report(second, [1, 2, 3, 4])
    logger = RecordingLogger()
    trials.follower(logger).step()
    # Killed: what the place has of trial 1 is less than what was given to it.
    successor = RecordingLogger({0: 3, 1: 2})
    follower = trials.follower(successor)
    follower.step()
    assert successor.calls == ["begin 1", "log 1: [3, 4]"]
    trials.settle(second, "failed", 4, message="Traceback\nValueError: broken")
    follower.step()
    assert successor.endings[1].reason == "user_code"
    assert "ValueError: broken" in successor.endings[1].message


def test_what_a_logger_did_not_take_is_given_again(trials: LoggedTrials) -> None:
    class Broken(RecordingLogger):
        is_broken = True

        def log(self, trial: LoggedTrial, epochs: Sequence[LoggedEpoch]) -> None:
            if self.is_broken:
                # It has taken a part.
                self.held[trial.number] = 1
                raise ConnectionError("away")
            super().log(trial, epochs)

    logger = Broken()
    follower = trials.follower(logger)
    lease = trials.claim()
    trials.report(lease, [1, 2, 3])
    with pytest.raises(ConnectionError):
        follower.step()
    logger.is_broken = False
    assert follower.step() == 2
    assert logger.calls == ["begin 0", "begin 0", "log 0: [2, 3]"]


def test_a_long_step_tells_that_it_comes_further_and_ends_when_its_lease_is_lost(
    trials: LoggedTrials,
) -> None:
    for _ in range(3):
        lease = trials.claim()
        trials.report(lease, [1])
        trials.settle(lease, "complete", 1, 0.5)
    n_told = 0

    def on_logged() -> None:
        nonlocal n_told
        n_told += 1
        if n_told == 5:
            raise StoreError("another process logs this study there now")

    logger = RecordingLogger()
    kept = LoggerJournal(trials.folder / "journal.json")
    follower = Follower(trials.db, trials.study, logger, kept, on_logged=on_logged)
    with pytest.raises(StoreError):
        follower.step()
    assert logger.calls[3:] == ["log 0: [1]", "end 0: COMPLETE"]
    # The successor ends what was not ended.
    successor = RecordingLogger(logger.held)
    trials.follower(successor).step()
    assert set(successor.endings) == {1, 2}


def test_the_end_of_a_study_is_told_once_and_again_after_it_was_continued(
    trials: LoggedTrials,
) -> None:
    lease = trials.claim()
    trials.report(lease, [1])
    trials.settle(lease, "complete", 1, 0.5)
    logger = RecordingLogger()
    follower = trials.follower(logger)
    set_state(trials.db, trials.study_id, "done", "trials")
    follower.step()
    follower.step()
    trials.follower(logger).step()
    assert logger.calls.count("finish: done") == 1
    assert logger.last is not None
    assert (logger.last.n_trials, logger.last.best, logger.last.best_value) == (1, 0, 0.5)
    set_state(trials.db, trials.study_id, "active")
    follower.step()
    set_state(trials.db, trials.study_id, "stopped", "every trial fails")
    follower.step()
    assert logger.calls[-1] == "finish: stopped"
    assert logger.last.has_failed


def test_a_logger_without_history_is_spared_what_was_before(trials: LoggedTrials) -> None:
    class Late(RecordingLogger):
        has_history = False

    for value in (0.5, 0.75):
        lease = trials.claim()
        trials.settle(lease, "complete", 1, value)
    logger = Late()
    follower = trials.follower(logger)
    follower.step()
    assert logger.calls == []
    for value in (0.6, 0.8):
        trials.settle(trials.claim(), "complete", 1, value)
    follower.step()
    assert [logger.endings[n].is_best for n in (2, 3)] == [False, True]


def test_one_process_logs_a_study_to_a_place_at_a_time(trials: LoggedTrials) -> None:
    db, study_id, place = trials.db, trials.study_id, "mlflow:http://lab:s3cret@host"
    assert logger_leases.acquire(db, study_id, place)
    assert logger_leases.acquire(db, study_id, place)
    table = optuna_tables.study_system_attributes
    mine = sa.and_(table.c.study_id == study_id, table.c.key.startswith("hpo:logger:"))
    with db.read() as conn:
        (row,) = conn.execute(sa.select(table.c.key, table.c.value_json).where(mine)).all()
    assert "s3cret" not in row.key + row.value_json

    def holder(machine: str, at: str) -> None:
        text = f'{{"machine": "{machine}", "pid": 1, "pid_started_at": 0.0, "at": "{at}"}}'
        with db.write() as conn:
            conn.execute(sa.update(table).where(mine).values(value_json=text))

    with db.read() as conn:
        now = db.now(conn).isoformat()
    holder("another", now)
    assert not logger_leases.acquire(db, study_id, place)
    assert logger_leases.acquire(db, study_id, "another place")
    logger_leases.release(db, study_id, place)
    assert not logger_leases.acquire(db, study_id, place)
    with db.write() as conn:
        statement = sa.update(table).where(table.c.value_json.contains("another"))
        conn.execute(statement.values(value_json="{"))
    assert logger_leases.acquire(db, study_id, place)
