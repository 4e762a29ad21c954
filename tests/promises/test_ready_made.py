"""The ready-made studies are at hand wherever hpo is installed."""

from __future__ import annotations

import sqlite3

import pytest

from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e


def test_a_ready_made_study_runs_by_its_name(installed: Installed) -> None:
    first = installed.hpo("run", "digits-mlp", "--trials", "3", "--epochs", "2")
    assert "3/3 trials" in first
    # From then on the name is that of the study in the database, with what it was given.
    assert "4/4 trials" in installed.hpo("run", "digits-mlp", "--trials", "4")
    assert installed.query("SELECT study_name FROM studies") == [("digits-mlp",)]
    states = installed.states()
    assert sum(states.values()) == 4
    assert states.keys() <= {"COMPLETE", "PRUNED"}


def test_a_ready_made_study_is_written_to_be_changed(installed: Installed) -> None:
    written = installed.hpo("init", "--from", "wine")
    assert written.splitlines() == [
        "wrote wine.toml",
        " next: hpo check wine.toml · hpo run wine.toml",
    ]
    text = (installed.folder / "wine.toml").read_text()
    assert "# The best of its 30 trials" in text
    assert "already exists" in installed.hpo("init", "--from", "wine", expect=2)
    installed.hpo("init", "--from", "wine.toml", "--name", "mine", "mine.toml")
    assert (installed.folder / "mine.toml").read_text() == text.replace('"wine"', '"mine"', 1)
    assert installed.hpo("check", "mine.toml").startswith("mine is valid")


def test_names_that_are_none_are_told_with_the_nearest(installed: Installed) -> None:
    assert "did you mean digits-mlp?" in installed.hpo("init", "--from", "digts", expect=2)
    assert "did you mean digits-mlp?" in installed.hpo("run", "digits-mpl", expect=2)
    missing = installed.hpo("run", "studies/digits_mlp.toml", expect=2)
    assert "`hpo run digits-mlp` runs the ready-made one" in missing
    assert list(installed.folder.iterdir()) == []


def test_a_study_of_the_database_goes_before_a_ready_made_one(installed: Installed) -> None:
    installed.write("f.py", "def objective(trial):\n    return trial.suggest_float('x', 0, 1)\n")
    run = ("run", "--objective", "f.py:objective", "--name", "wine", "--trials", "2")
    installed.hpo(*run)
    installed.hpo("run", "wine", "--trials", "3", "--allow", "f.py")
    with sqlite3.connect(installed.folder / "hpo.db") as connection:
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (3,)
