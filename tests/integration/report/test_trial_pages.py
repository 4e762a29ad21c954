"""Of epochs with an equal value the trial itself knows which one it has kept."""

from __future__ import annotations

from pathlib import Path

import optuna

from hpo.report.study_queries import find
from hpo.report.trial_pages import best_trials
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.leases import EpochRow, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.studies import studies
from tests.kits.cli_kit import SPEC


def test_the_epoch_shown_is_that_of_the_weights(tmp_path: Path) -> None:
    db = open_database(f"sqlite:///{tmp_path}/hpo.db", create=True)
    study_id = studies.create_or_join(db, SPEC, None)[0].study_id
    ledger = Ledger(db)
    (lease,) = ledger.claim(study_id, workers.register(db, study_id, "cpu"), 1).leases
    trial = optuna.trial.Trial(
        optuna.load_study(study_name=SPEC.name, storage=Storage(db)), lease.trial_id
    )
    trial.suggest_int("depth", 1, 4)
    for epoch, value, loss in ((1, 0.5, 0.9), (2, 1.0, 0.5), (3, 1.0, 0.1), (4, 1.0, 0.2)):
        metrics = {"val_accuracy": value, "val_loss": loss}
        ledger.report([EpochRow(lease.trial_id, lease.token, epoch, metrics, value, 0.1, 0.1, 9.0)])
    attrs = {"best_epoch": 3}
    ledger.settle(
        [Outcome(lease.trial_id, lease.token, "complete", (1.0,), user_attrs=attrs, epoch=4)]
    )
    (found,) = best_trials(db, find(db, SPEC.name))
    assert (found.best_epoch, found.metrics["val_loss"]) == (3, 0.1)
    db.dispose()
