"""A study whose trials report, pause and end as a test says, and what follows it for a logger."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna

from hpo.run.files.artifacts import Artifacts
from hpo.run.loggers.follower import Follower
from hpo.run.loggers.logger import (
    LoggedEpoch,
    LoggedStudy,
    LoggedTrial,
    Logger,
    StudyEnding,
    TrialEnding,
)
from hpo.run.loggers.logger_journal import LoggerJournal
from hpo.run.loggers.logger_process import about_of
from hpo.store.db.database import Database
from hpo.store.ledger.leases import EpochRow, Lease, Outcome, OutcomeState
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.studies import study_records
from tests.kits.ledger_kit import new_study, new_worker


class LoggedTrials:
    """A study of which a worker of this process trains trials.

    Args:
        db: The database.
        folder: Where the journals of loggers go.
    """

    def __init__(self, db: Database, folder: Path, name: str = "digits") -> None:
        self.db = db
        self.folder = folder
        self.study_id = new_study(db, name, trials=20, epochs=9)
        self.held: set[int] = set()
        self.worker_id = new_worker(db, self.study_id)
        self.ledger = Ledger(db)
        self.study = study_records.load(db, name)
        self.about: LoggedStudy = about_of(self.study, Artifacts.of(self.study, db.url))
        self._optuna = optuna.load_study(study_name=name, storage=Storage(db))

    def claim(self) -> Lease:
        """Begins a trial, or resumes one that was released."""
        (lease,) = self.ledger.claim(self.study_id, self.worker_id, 1, self.held).leases
        self.held.add(lease.trial_id)
        if lease.epoch == 0:
            trial = optuna.trial.Trial(self._optuna, lease.trial_id)
            trial.suggest_float("learning_rate", 0.1, 1.0)
        return lease

    def report(self, lease: Lease, epochs: Sequence[int]) -> None:
        """Reports epochs."""
        rows = [
            EpochRow(
                trial_id=lease.trial_id,
                token=lease.token,
                epoch=epoch,
                metrics={"val_accuracy": value_of(epoch), "train_loss": 1 / epoch},
                objective=value_of(epoch),
                learning_rate=0.1,
                seconds=0.01,
                samples_per_s=100.0,
            )
            for epoch in epochs
        ]
        assert self.ledger.report(rows) == set()

    def settle(
        self,
        lease: Lease,
        state: OutcomeState,
        epoch: int,
        value: float | None = None,
        message: str = "",
    ) -> None:
        """Ends or releases a trial."""
        outcome = Outcome(
            trial_id=lease.trial_id,
            token=lease.token,
            state=state,
            values=None if value is None else (value,),
            reason={"failed": "user_code", "released": "interrupted"}.get(state, ""),
            message=message,
            user_attrs={"best_epoch": epoch, "test_accuracy": 0.1} if state == "complete" else {},
            epoch=epoch,
        )
        assert self.ledger.settle([outcome]) == set()
        self.held.discard(lease.trial_id)

    def follower(self, logger: Logger, *, journal: str = "journal.json") -> Follower:
        """Returns what a new process would follow the study with."""
        has_history = getattr(logger, "has_history", True)
        kept = LoggerJournal(self.folder / journal)
        return Follower(self.db, self.study, logger, kept, has_history=has_history)


def value_of(epoch: int) -> float:
    """Returns the validation accuracy of an epoch."""
    return math.tanh(epoch / 4)


class RecordingLogger:
    """A logger that keeps what it was given.

    Args:
        held: The last epoch that each trial has already, by number.
    """

    def __init__(self, held: Mapping[int, int] | None = None) -> None:
        self.held = dict(held or {})
        self.calls: list[str] = []
        self.endings: dict[int, TrialEnding] = {}
        self.trials: dict[int, LoggedTrial] = {}
        self.last: StudyEnding | None = None

    def begin(self, trial: LoggedTrial) -> int:
        self.calls.append(f"begin {trial.number}")
        self.trials[trial.number] = trial
        return self.held.get(trial.number, -1)

    def log(self, trial: LoggedTrial, epochs: Sequence[LoggedEpoch]) -> None:
        self.calls.append(f"log {trial.number}: {[one.epoch for one in epochs]}")
        self.held[trial.number] = epochs[-1].epoch

    def pause(self, trial: LoggedTrial) -> None:
        self.calls.append(f"pause {trial.number}")

    def end(self, trial: LoggedTrial, ending: TrialEnding) -> None:
        self.calls.append(f"end {trial.number}: {ending.state}")
        self.endings[trial.number] = ending

    def finish(self, ending: StudyEnding) -> None:
        self.calls.append(f"finish: {ending.state}")
        self.last = ending

    def close(self) -> None:
        self.calls.append("close")
