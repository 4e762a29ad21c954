"""``hpo confirm``: what it refuses and with which words, and what it shows without training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpo.run.host import prefork
from hpo.run.host.confirming import Plan, seeds, start_confirming
from hpo.run.host.session import RunOptions
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import studies, study_records
from tests.kits import ledger_kit as kit
from tests.kits.cli_kit import SPEC, Run, fill, fill_with_optuna, run_hpo

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

VALUES = {2: (0.70, 0.72), 4: (0.60, 0.61)}
PARAMS = {2: {"learning_rate": 0.1, "width": 32, "depth": 1, "optimizer": "sgd"}, 4: {}}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder and expects no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    monkeypatch.setattr(prefork, "can_fork", lambda device: False)

    return run_hpo


@pytest.fixture
def filled(run: Run) -> Database:
    db = open_database("sqlite:///hpo.db", create=True)
    fill(db)
    return db


def _end(run: Run) -> None:
    run("cancel", "digits", "5")
    run("stop", "digits")


def _confirmed(run: Run, db: Database) -> None:
    """Ends the study, and gives trials 2 and 4 two runs each, as if they had been trained."""
    _end(run)
    study = study_records.load(db, "digits")
    session = start_confirming(Plan(study, PARAMS, 2), None, RunOptions(workers=1))
    own, ledger = session.study, Ledger(db)
    worker_id = workers.register(db, own.study_id, "cpu")
    leases = ledger.claim(own.study_id, worker_id, 9).leases
    values = [value for number in PARAMS for value in VALUES[number]]
    for lease, value in zip(leases, values, strict=True):
        tested = {"test_accuracy": value - 0.1}
        ledger.settle([kit.outcome(lease, values=(value,), user_attrs=tested)])
    assert ledger.claim(own.study_id, worker_id, 1).exhausted


def test_what_cannot_be_confirmed_is_refused(run: Run, filled: Database) -> None:
    def told(name: str, code: int) -> str:
        return run("confirm", name, expect=code).stderr

    assert told("digits", 1) == (
        "error: digits is running, and may find better trials\n"
        "hint: confirm it when it is done; `hpo stop digits` ends it now\n"
    )
    assert "holds no study 'digit'. Did you mean digits?" in told("digit", 2)
    assert "no such file" in told("digit.toml", 2)
    fill_with_optuna(filled)
    assert "was not created by hpo" in told("infinite", 2)
    two = SPEC.model_copy(
        update={"name": "both", "metric": ("a", "b"), "direction": ("minimize", "maximize")}
    )
    studies.create_or_join(filled, two, None)
    assert told("both", 2).startswith("error: both has several objectives")
    studies.create_or_join(filled, SPEC.model_copy(update={"name": "empty"}), None)
    assert told("empty", 1).startswith("error: empty has no complete trial yet")
    assert "1 is not in the range" in run("confirm", "digits", "--seeds", "1", expect=2).stderr


def test_another_study_is_not_taken_for_a_confirmation(run: Run, filled: Database) -> None:
    studies.create_or_join(filled, SPEC.model_copy(update={"name": "digits-confirm"}), None)
    _end(run)
    error = run("confirm", "digits", expect=2).stderr
    assert "a study called digits-confirm already, and it does not confirm digits" in error


def test_a_confirmation_that_is_there_is_shown(run: Run, filled: Database) -> None:
    _confirmed(run, filled)
    shown = run("confirm", "digits", "--top", "2", "--seeds", "2").stdout
    header, first, second = shown.splitlines()[1:4]
    assert header.split()[:5] == ["trial", "search", "mean", "95%", "interval"]
    assert first.split()[:3] == ["2", "0.7500", "0.7100"]
    assert second.split()[:3] == ["4", "0.6250", "0.6050"]
    assert "Trial 2 is confirmed as the best: over 2 seeds its mean val_accuracy is 0.7100" in shown
    assert "On test data, trial 2: test_accuracy 0.6100 (95% interval" in shown
    assert "0.5050" not in shown
    found = json.loads(run("confirm", "digits", "-f", "json", "--top", "2", "--seeds", "2").stdout)
    assert found["seeds"] == seeds(SPEC, 2)
    assert [run["value"] for run in found["trials"][0]["runs"]] == list(VALUES[2])
    assert f" digits-confirm: {found['sentence']}\n" in run("best", "digits").stdout
    error = run("confirm", "digits-confirm", expect=2).stderr
    assert error == "error: digits-confirm is itself the confirmation of another study\n"


def test_epochs_that_were_updated_need_another_confirmation(run: Run, filled: Database) -> None:
    _confirmed(run, filled)
    run("update", "digits", "--epochs", "9")
    error = run("confirm", "digits", expect=2).stderr
    assert error == (
        "error: digits-confirm trains 4 epochs, and digits has 9 since its budget was updated\n"
        "hint: `hpo delete digits-confirm`, and confirm again\n"
    )
