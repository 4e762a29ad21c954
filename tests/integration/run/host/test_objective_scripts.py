"""What a study takes over from the script of its objective, from the file to the spec."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner

from hpo.cli.main import hpo
from hpo.errors import SpecError, StoreError
from hpo.run.host.manager import Prepared, prepare
from hpo.run.host.session import RunOptions
from hpo.store.db.opening import open_database

SCRIPT = """
import optuna

def objective(trial):
    return trial.suggest_float("x", 0, 1)

if __name__ == "__main__":
    study = optuna.create_study(direction="maximize", study_name="theirs")
    study.optimize(objective, n_trials=100)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path


def _prepared(**overrides: object) -> Prepared:
    return prepare(None, objective="train.py:objective", overrides={"trials": 5, **overrides})


def test_the_scripts_direction_is_the_studys(folder: Path) -> None:
    prepared = _prepared()
    assert prepared.spec.directions == ("maximize",)
    assert prepared.spec.budget.trials == 5
    assert prepared.remarks == (
        "train.py:8 creates its study with direction maximize: taken over",
        "train.py: not taken over: study_name theirs (--name theirs) in line 8; "
        "n_trials 100 (--trials 100) in line 9",
    )


def test_what_the_user_says_goes_before_the_script(folder: Path) -> None:
    prepared = _prepared(direction="minimize", name="mine", trials=100)
    assert prepared.spec.directions == ("minimize",)
    assert prepared.spec.name == "mine"
    assert prepared.remarks == ()


def test_a_study_file_takes_the_direction_over_too(folder: Path) -> None:
    (folder / "s.toml").write_text('objective = "train.py:objective"\n[budget]\ntrials = 100\n')
    prepared = prepare("s.toml")
    assert prepared.spec.directions == ("maximize",)
    assert len(prepared.remarks) == 1


def test_a_missing_budget_is_told_with_what_the_script_has(folder: Path) -> None:
    with pytest.raises(SpecError) as caught:
        prepare(None, objective="train.py:objective")
    assert caught.value.hint == "the script has n_trials 100 (--trials 100) in line 9"
    with pytest.raises(SpecError) as caught:
        prepare(None, objective="nofile.py:objective")
    assert {problem.key for problem in caught.value.problems} == {"objective", "budget"}
    assert caught.value.hint == "--trials N gives it a budget"
    (folder / "plain.py").write_text("def objective(trial):\n    return 1.0\n")
    with pytest.raises(SpecError) as caught:
        prepare(None, objective="plain.py:objective")
    assert caught.value.hint == "--trials N gives it a budget"


def test_freeze_thaw_says_that_an_objective_cannot_pause(folder: Path) -> None:
    assert not any("cannot be paused" in line for line in _prepared().remarks)
    remarks = _prepared(pruner="freeze-thaw").remarks
    assert "freeze-thaw stops trials that will hardly be the best" in remarks[-1]


def test_a_plain_study_of_optunas_is_told_from_one_that_does_not_exist(folder: Path) -> None:
    url = "sqlite:///plain.db"
    open_database(url, create=True).dispose()
    optuna.create_study(storage=url, study_name="plain")
    with pytest.raises(StoreError, match="plain was not created by hpo"):
        prepare("plain", options=RunOptions(url))
    with pytest.raises(SpecError, match="neither a study file nor a study"):
        prepare("other", options=RunOptions(url))


def test_a_grid_without_a_space_is_refused_before_any_trial(folder: Path) -> None:
    with pytest.raises(SpecError, match="1 mistake") as caught:
        _prepared(sampler="grid")
    assert "needs a [space]" in caught.value.problems[0].message


@pytest.mark.parametrize("command", ["run", "worker"])
def test_nor_is_one_in_a_database_without_tables_of_hpo(folder: Path, command: str) -> None:
    optuna.create_study(storage="sqlite:///plain.db", study_name="plain")
    found = CliRunner().invoke(hpo, [command, "plain", "--storage", "sqlite:///plain.db"])
    assert (found.exit_code, found.stderr) == (
        3,
        "error: plain was not created by hpo: it is a study of Optuna's; continue it in Optuna, "
        "or choose another name\n",
    )
    other = CliRunner().invoke(hpo, [command, "other", "--storage", "sqlite:///plain.db"])
    assert (other.exit_code, "holds no studies of hpo yet" in other.stderr) == (3, True)
