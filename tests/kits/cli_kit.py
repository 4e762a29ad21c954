"""Commands in this process, and studies to look at: one filled by the ledger, some by Optuna."""

from __future__ import annotations

import math
from typing import Protocol

import optuna
from click.testing import CliRunner, Result

from hpo.cli.main import hpo
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.ledger import workers
from hpo.store.ledger.leases import EpochRow, Lease, Outcome, OutcomeState
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.rows import decision_log
from hpo.store.studies import studies

SPEC = StudySpec(
    name="digits",
    task="digits-mlp",
    metric="val_accuracy",
    direction="maximize",
    budget={"trials": 10, "epochs": 4},
    space={
        "learning_rate": {"low": 1e-4, "high": 1.0, "log": True},
        "width": {"choices": [32, 64]},
        "depth": {"low": 1, "high": 4},
        "optimizer": "sgd",
    },
)
TRACEBACK = "Traceback (most recent call last):\n  File x\nValueError: broken on purpose\n"
# Number -> (state, value): trial 5 runs on after two epochs.
ENDS: dict[int, tuple[OutcomeState, float | None]] = {
    0: ("complete", 0.5),
    1: ("pruned", 0.9),
    2: ("complete", 0.75),
    3: ("failed", None),
    4: ("complete", 0.625),
}


class Run(Protocol):
    """Runs a command with these arguments."""

    def __call__(self, *arguments: str, expect: int = 0) -> Result: ...


def run_hpo(*arguments: str, expect: int = 0) -> Result:
    """Runs a command in this process; it ends with this exit code and without a traceback."""
    result = CliRunner().invoke(hpo, arguments, prog_name="hpo")
    assert result.exit_code == expect, result.output
    assert "Traceback" not in result.stderr
    return result


def fill(db: Database) -> int:
    """Makes the study `digits`: three trials complete, one pruned, one failed, one running."""
    record, _ = studies.create_or_join(db, SPEC, "/data")
    worker_id = workers.register(db, record.study_id, "cpu")
    ledger = Ledger(db)
    study = optuna.load_study(study_name="digits", storage=Storage(db))
    for number in range(6):
        (lease,) = ledger.claim(record.study_id, worker_id, 1).leases
        trial = optuna.trial.Trial(study, lease.trial_id)
        trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
        trial.suggest_categorical("width", [32, 64])
        trial.suggest_int("depth", 1, 4)
        state, value = ENDS.get(number, (None, None))
        n_epochs = 4 if state == "complete" else 2
        for epoch in range(1, n_epochs + 1):
            ledger.report([_epoch(lease, epoch, value or 0.1)])
        if state is not None:
            ledger.settle([_outcome(lease, state, value, n_epochs)])
    decision_log.add(db, record.study_id, worker_id, '{"ask": {}, "drawn": [], "granted": []}')
    return record.study_id


def fill_with_optuna(db: Database) -> None:
    """Makes two studies that hpo knows nothing of, with Optuna alone."""
    storage = optuna.storages.RDBStorage(db.url)
    infinite = optuna.create_study(study_name="infinite", storage=storage)
    infinite.optimize(lambda t: [math.inf, 1.0, -math.inf][t.number], n_trials=3)
    two = optuna.create_study(
        study_name="two", storage=storage, directions=["minimize", "maximize"]
    )
    two.set_metric_names(["cost", "gain"])
    gains = (0.0, 1.0, 0.5)
    for x in (0.0, 0.5, 1.0):
        two.enqueue_trial({"x": x})
        two.optimize(lambda t: (t.suggest_float("x", 0, 1), gains[t.number]), n_trials=1)
    storage.remove_session()
    storage.engine.dispose()


def _epoch(lease: Lease, epoch: int, final: float) -> EpochRow:
    # The third epoch is the best, as it is when a model overfits.
    value = final - 0.01 * abs(epoch - 3)
    return EpochRow(
        trial_id=lease.trial_id,
        token=lease.token,
        epoch=epoch,
        metrics={"val_accuracy": value, "train_loss": math.nan},
        objective=value,
        learning_rate=0.1,
        seconds=0.01,
        samples_per_s=1e5,
    )


def _outcome(lease: Lease, state: OutcomeState, value: float | None, epoch: int) -> Outcome:
    return Outcome(
        trial_id=lease.trial_id,
        token=lease.token,
        state=state,
        values=None if value is None else (value,),
        reason={"failed": "user_code"}.get(state, state),
        message=TRACEBACK if state == "failed" else "",
        user_attrs={"test_accuracy": value, "best_epoch": 3} if state == "complete" else {},
        epoch=epoch,
    )
