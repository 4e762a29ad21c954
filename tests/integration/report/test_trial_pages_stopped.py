"""A study that ended without a complete trial: its best is of those that were stopped, everywhere.

The value, its epoch and its metrics are of one epoch: the last.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.text import Text

from hpo.cli import progress_view
from hpo.cli.main import hpo
from hpo.cli.run_display import without_complete
from hpo.report.progress import snapshot
from hpo.report.study_queries import find
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.leases import EpochRow, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import control, studies
from tests.kits.cli_kit import SPEC

pytestmark = pytest.mark.integration
CURVES = ((0.25, 0.5, 0.375), (0.5, 0.9167, 0.8833))


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Two trials, pruned after three epochs, whose second was the best."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    db = open_database("sqlite:///hpo.db", create=True)
    study_id = studies.create_or_join(db, SPEC, None)[0].study_id
    ledger, worker_id = Ledger(db), workers.register(db, study_id, "cpu")
    for curve in CURVES:
        (lease,) = ledger.claim(study_id, worker_id, 1).leases
        of_trial = (lease.trial_id, lease.token)
        for epoch, value in enumerate(curve, 1):
            metrics = {"val_accuracy": value, "val_loss": 1 - value}
            ledger.report([EpochRow(*of_trial, epoch, metrics, value, 0.1, 0.1, 9.0)])
        ledger.settle([Outcome(*of_trial, "pruned", (curve[-1],), reason="stopped", epoch=3)])
    return db


def _run(*arguments: str, expect: int = 0) -> str:
    result = CliRunner().invoke(hpo, arguments, prog_name="hpo")
    assert result.exit_code == expect, result.output
    return result.output


def test_the_best_stopped_trial_is_the_best_everywhere(db: Database) -> None:
    assert "no complete trial yet" in _run("best", expect=1)
    assert json.loads(_run("show", "-f", "json"))["best"] is None
    assert json.loads(_run("ls", "-f", "json"))[0]["best"] is None

    control.steer(db, find(db).study_id, "stop")
    best = json.loads(_run("best", "-f", "json"))
    assert (best["number"], best["value"], best["epoch"], best["best_epoch"]) == (1, 0.8833, 3, 2)
    assert best["metrics"]["val_accuracy"] == 0.8833
    head, *rest = _run("best").splitlines()
    assert "val_accuracy 0.8833 at epoch 3 · stopped early after 3; no trial was trained" in head
    assert head.endswith("its best epoch was 2")
    assert any(line.split() == ["val_accuracy", "0.8833"] for line in rest)

    shown = json.loads(_run("show", "-f", "json"))["best"]
    assert shown == {"number": 1, "state": "PRUNED", "value": 0.8833, "epoch": 3}
    assert "0.8833 (trial 1, stopped early: no trial was trained to the end)" in _run("show")
    (listed,) = json.loads(_run("ls", "-f", "json"))
    assert (listed["best"], listed["best_state"]) == (0.8833, "PRUNED")
    assert "0.8833 (stopped)" in _run("ls")
    rows = json.loads(_run("trials", "-f", "json"))
    assert [(row["value"], row["epoch"], row["best_epoch"]) for row in rows] == [
        (0.375, 3, 2),
        (0.8833, 3, 2),
    ]


def test_the_end_of_a_run_says_the_same(db: Database) -> None:
    control.steer(db, find(db).study_id, "stop")
    subject = find(db)
    view = progress_view.View(subject, snapshot(db, subject))
    lines = Text("\n").join(progress_view.lines(view, 120, ended=True)).plain
    assert "best 0.8833 (trial 1, epoch 3, stopped)" in lines
    (said,) = without_complete(db, subject, view)
    assert said == "no trial was trained to the end; the best one was stopped early"
