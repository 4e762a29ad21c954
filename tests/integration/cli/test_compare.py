"""``hpo compare``: studies side by side, as a table, for programs and as a plot."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import optuna
import pytest

from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies import studies
from tests.kits.cli_kit import SPEC, Run, fill, fill_with_optuna

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


@pytest.fixture
def db(run: Run) -> Database:
    found = open_database("sqlite:///hpo.db", create=True)
    fill(found)
    fill_with_optuna(found)
    for name, values in (("a", [3.0, 2.0, 5.0, 1.0]), ("b", [4.0, 0.5]), ("c", [])):
        study = optuna.create_study(study_name=name, storage=found.url)
        study.optimize(lambda t, v=values: v[t.number], n_trials=len(values))  # type: ignore[misc]
    return found


def test_each_study_has_its_best_and_that_of_equal_trials(run: Run, db: Database) -> None:
    records = json.loads(run("compare", "a", "b", "-f", "json").stdout)
    shown = {r["study"]: (r["best"], r["best_trial"], r["best_of_equal_trials"]) for r in records}
    assert shown == {"a": (1.0, 3, 2.0), "b": (0.5, 1, 0.5)}
    assert [record["equal_trials"] for record in records] == [2, 2]
    assert [(i["trials"], i["value"]) for i in records[0]["improvements"]] == [
        (1, 3.0),
        (2, 2.0),
        (4, 1.0),
    ]
    header, first, *_ = run("compare", "a", "b", "c").stdout.splitlines()
    assert "best value" in header
    assert "of the first 0" in header
    assert first.split()[:3] == ["a", "optuna", "4"]
    (row, _) = csv.DictReader(io.StringIO(run("compare", "a", "b", "-f", "csv").stdout))
    assert row["best"] == "1.0"


def test_epochs_count_until_the_best_trial_ended(run: Run, db: Database) -> None:
    wide = StudySpec(**{**SPEC.to_given(), "name": "wide"})
    studies.create_or_join(db, wide, "/data")
    (record, empty) = json.loads(run("compare", "digits", "wide", "-f", "json").stdout)
    assert (record["n_finished"], record["n_epochs"]) == (5, 18)
    # Trial 2, after four epochs of trial 0, two of trial 1 and its own four.
    assert (record["best_trial"], record["epochs_to_best"], record["trials_to_best"]) == (2, 10, 3)
    assert (empty["best"], empty["hours"], empty["improvements"]) == (None, 0.0, [])


def test_a_plot_is_written(run: Run, db: Database) -> None:
    assert "wrote c.svg" in run("compare", "a", "b", "c", "-o", "c.svg").stdout
    drawn = Path("c.svg").read_text()
    assert "<svg" in drawn
    found = run("compare", "a", "b", "-f", "json", "-o", "c.png")
    assert json.loads(found.stdout)
    assert Path("c.png").stat().st_size > 10_000


def test_what_cannot_be_compared_is_said(run: Run, db: Database) -> None:
    for names, said in [
        (("a",), "name two studies or more"),
        (("a", "a"), "name two studies or more"),
        (("a", "two"), "two has several objectives"),
        (("a", "digits"), "a optimises minimize value, and digits maximize val_accuracy"),
        (("a", "bb"), "holds no study 'bb'"),
    ]:
        assert said in run("compare", *names, expect=2).stderr
