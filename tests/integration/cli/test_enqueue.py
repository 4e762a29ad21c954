"""What may be enqueued: what the trials of an objective take, or the space that is declared."""

from __future__ import annotations

import logging
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner, Result

from hpo.cli.main import hpo
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.optuna.storage import Storage
from hpo.store.studies import studies

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Fixed parameter:UserWarning"),
    pytest.mark.filterwarnings("ignore:Choices for a categorical:UserWarning"),
]


def _study(**entries: object) -> Database:
    db = open_database("sqlite:///hpo.db", create=True)
    spec = StudySpec(name="own", objective="ob.py:f", budget={"trials": 9}, **entries)
    studies.create_or_join(db, spec, None)
    return db


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)


@pytest.fixture
def db() -> Database:
    """An objective whose trials have asked for four parameters."""
    db = _study()
    study = optuna.load_study(study_name="own", storage=Storage(db))
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.suggest_int("n", 1, 5)
    trial.suggest_categorical("kind", ["a", 1, None, True])
    study.tell(trial, 0.5)
    return db


def _enqueue(*values: str) -> Result:
    return CliRunner().invoke(hpo, ["enqueue", "own", *values], prog_name="hpo")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("x=abc", 'must be a number from 0.0 to 1.0; found "abc"'),
        ("x=nan", 'must be a number from 0.0 to 1.0; found "nan"'),
        ("x=true", 'must be a number from 0.0 to 1.0; found "true"'),
        ("n=2.5", 'must be a whole number from 1 to 5; found "2.5"'),
        ("n=1" + 400 * "0", "must be a whole number from 1 to 5; found"),
        ("kind=b", 'must be "a", 1, None or true; found "b"'),
    ],
)
def test_what_trials_would_fail_of_is_refused(db: Database, entry: str, told: str) -> None:
    result = _enqueue(entry)
    assert result.exit_code == 2, result.output
    assert told in result.stderr


@pytest.mark.parametrize(
    ("entry", "value"),
    [("x=7", 7.0), ("n=9", 9), ("n=2", 2), ("kind=1", 1), ("kind=None", None), ("kind=true", True)],
)
def test_the_trial_gets_what_was_enqueued(
    db: Database, entry: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result = _enqueue(entry)
    assert result.exit_code == 0, result.output
    warned = "have used a" in caplog.text + result.stderr
    assert warned is (entry in ("x=7", "n=9"))
    trial = optuna.load_study(study_name="own", storage=Storage(db)).ask()
    found = {
        "x": lambda: trial.suggest_float("x", 0, 1),
        "n": lambda: trial.suggest_int("n", 1, 5),
        "kind": lambda: trial.suggest_categorical("kind", ["a", 1, None, True]),
    }[entry[: entry.index("=")]]()
    assert (type(found), found) == (type(value), value)


def test_a_space_that_is_declared_is_kept_to() -> None:
    _study(space={"x": {"low": 0.0, "high": 1.0}}, sampler="random")
    result = _enqueue("x=7")
    assert (result.exit_code, "must be a number from 0.0 to 1.0" in result.stderr) == (2, True)
    assert _enqueue("x=0.5").exit_code == 0
