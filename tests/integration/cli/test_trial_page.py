"""``hpo show --trial``: all that is known of one trial."""

from __future__ import annotations

import json
import math

import optuna
import pytest

from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.leases import EpochRow, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import decision_log
from hpo.store.studies import queueing
from tests.kits.cli_kit import TRACEBACK, Run, fill, fill_with_optuna

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
WHERE = '  File "/home/a/mine.py", line 12, in model\n'


@pytest.fixture
def db(run: Run) -> Database:
    return open_database("sqlite:///hpo.db", create=True)


def record_of(run: Run, number: int) -> dict[str, object]:
    found = json.loads(run("show", "digits", "--trial", str(number), "-f", "json").stdout)
    assert isinstance(found, dict)
    return found


def test_a_failed_trial_has_its_whole_traceback(run: Run, db: Database) -> None:
    fill(db)
    shown = run("show", "digits", "--trial", "3").stdout
    assert shown.startswith("digits · trial 3 · FAIL\n")
    assert TRACEBACK in shown
    record = record_of(run, 3)
    assert record["traceback"] == TRACEBACK
    assert record["exception"] == "ValueError"
    assert record["why_ended"] == "user code at epoch 2: ValueError: broken on purpose"


def test_a_complete_trial_has_its_curve_and_its_worker_but_no_test_value(
    run: Run, db: Database
) -> None:
    fill(db)
    shown = run("show", "digits", "--trial", "2").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["3", "0.7500", "nan", "0.1000", "10", "ms"] in lines
    assert "best is 3" in shown
    assert "test" not in shown
    record = record_of(run, 2)
    assert [point["epoch"] for point in record["curve"]] == [1, 2, 3, 4]  # type: ignore[attr-defined]
    assert record["trained_s"] == pytest.approx(0.04)
    assert [worker["device"] for worker in record["workers"]] == ["cpu"]  # type: ignore[attr-defined]
    assert record["user_attrs"] == {"best_epoch": 3}


def test_assignments_and_losses_are_the_history_of_a_trial(run: Run, db: Database) -> None:
    """A worker is lost with it; another one resumes it, as the decision log says."""
    study_id = fill(db)
    ledger = Ledger(db)
    first = workers.register(db, study_id, "cuda:0")
    (lease,) = ledger.claim(study_id, first, 1).leases
    granted = f'[[{lease.number},0,4,true,{{"by":"knowledge"}}],[1{lease.number},0,1,true,{{}}]]'
    decision_log.add(db, study_id, first, f'{{"granted":{granted}}}')
    row = EpochRow(lease.trial_id, lease.token, 1, {"val_accuracy": 0.5}, 0.5, None, 2.0, None)
    ledger.report([row])
    workers.retire(db, first, lost=True)
    second = workers.register(db, study_id, "cuda:1")
    (again,) = [x for x in ledger.claim(study_id, second, 9).leases if x.number == lease.number]
    ledger.settle(
        [Outcome(again.trial_id, again.token, "pruned", (0.5,), "nan", "val_loss is nan", epoch=2)]
    )
    shown = run("show", "digits", "--trial", str(lease.number)).stdout
    assert "; up to epoch 4: a first point that has served other tasks" in shown
    assert "diverged" not in shown
    assert "NaN at epoch 1: val_loss is nan" in shown
    record = record_of(run, lease.number)
    assert [event["kind"] for event in record["events"]] == ["lost", "nan"]  # type: ignore[attr-defined]
    assert [a["worker_id"] for a in record["assignments"]] == [first]  # type: ignore[attr-defined]
    assert [w["device"] for w in record["workers"]] == ["cuda:0", "cuda:1"]  # type: ignore[attr-defined]


def test_a_retry_names_the_trial_that_it_repeats(run: Run, db: Database) -> None:
    study_id = fill(db)
    (number,) = queueing.retry(db, study_id, [3], []).values()
    shown = run("show", "digits", "--trial", str(number)).stdout
    assert "enqueued by `hpo retry`, with the params of trial 3" in shown
    assert "it waits to begin" in shown


def test_failures_are_grouped_by_exception_and_place(run: Run, db: Database) -> None:
    study_id = fill(db)
    ledger = Ledger(db)
    worker_id = workers.register(db, study_id, "cpu")
    for said in ("ValueError: 1", "ValueError: 2", "ValueError: 2", "KeyError: 'x'"):
        (lease,) = ledger.claim(study_id, worker_id, 1).leases
        text = f"Traceback (most recent call last):\n{WHERE}{said}\n"
        ledger.settle([Outcome(lease.trial_id, lease.token, "failed", None, "user_code", text)])
    lines = [line.split("  ")[-1].strip() for line in run("show").stdout.splitlines()]
    at = lines.index("trials 6, 7, 8: ValueError at mine.py:12 in model")
    assert lines[at + 1 : at + 3] == ["2 (2 times)", "1"]
    assert "trial 9: KeyError: 'x' (mine.py:12 in model)" in lines
    (ending,) = [
        each
        for each in json.loads(run("show", "-f", "json").stdout)["endings"]
        if each["kind"] == "user_code"
    ]
    assert [(g["exception"], g["place"], g["n"]) for g in ending["groups"]] == [
        ("ValueError", "mine.py:12 in model", 3),
        ("KeyError", "mine.py:12 in model", 1),
        ("ValueError", "", 1),
    ]


def test_a_long_curve_is_thinned_out_but_keeps_its_ends(run: Run, db: Database) -> None:
    study = optuna.create_study(study_name="long", storage=db.url)
    trial = study.ask()
    for step in range(300):
        trial.report(math.cos(step / 100), step)
    study.tell(trial, 0.5)
    shown = run("show", "long", "--trial", "0").stdout.splitlines()
    rows = [line.split() for line in shown]
    steps = [int(row[0]) for row in rows if len(row) == 2 and row[0].isdigit()]
    assert len(steps) <= 20
    assert steps[0] == 0
    assert steps[-1] == 299
    assert f" {300 - len(steps)} more epochs: -f json" in shown


def test_trials_of_optuna_are_shown_and_mistakes_are_named(run: Run, db: Database) -> None:
    fill_with_optuna(db)
    shown = run("show", "two", "--trial", "1").stdout
    assert "cost 0.5000, gain 1" in shown
    assert "enqueued with given params" in shown
    assert "two has no trial 3; its trials are 0 to 2" in (
        run("show", "two", "--trial", "3", expect=2).stderr
    )
