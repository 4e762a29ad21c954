"""An Optuna script, written the usual way, becomes a study without an edit."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

SCRIPT = '''
"""Optuna example: a classifier's hyperparameters, conditional, with pruning."""

import optuna
import sklearn.datasets
import sklearn.linear_model
import sklearn.model_selection


def objective(trial):
    iris = sklearn.datasets.load_iris()
    classes = list(set(iris.target))
    train_x, valid_x, train_y, valid_y = sklearn.model_selection.train_test_split(
        iris.data, iris.target, test_size=0.25, random_state=0
    )
    penalty = trial.suggest_categorical("penalty", ["l2", "elasticnet"])
    alpha = trial.suggest_float("alpha", 1e-5, 1e-1, log=True)
    l1_ratio = trial.suggest_float("l1_ratio", 0.0, 1.0) if penalty == "elasticnet" else 0.15
    clf = sklearn.linear_model.SGDClassifier(
        alpha=alpha, penalty=penalty, l1_ratio=l1_ratio, random_state=0
    )
    for step in range(20):
        clf.partial_fit(train_x, train_y, classes=classes)
        trial.report(clf.score(valid_x, valid_y), step)
        if trial.should_prune():
            raise optuna.TrialPruned()
    print("a line that must not disturb the progress display")
    return clf.score(valid_x, valid_y)


if __name__ == "__main__":
    raise SystemExit("the script itself must not run")
'''


def test_an_optuna_script_runs_unchanged(shell: Shell) -> None:
    shell.write("train.py", SCRIPT)
    output = shell.hpo(
        "run", "--objective", "train.py:objective", "--trials", "20",
        "--direction", "maximize", "--pruner", "median", "--workers", "2",
    )  # fmt: skip
    assert "20/20 trials" in output
    assert "must not disturb" not in output
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{shell.folder}/hpo.db")
    assert len(study.trials) == 20
    assert study.best_value > 0.8
    assert {trial.state for trial in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert all("l1_ratio" in t.params for t in study.trials if t.params["penalty"] == "elasticnet")
    assert all(t.intermediate_values for t in study.trials)


def test_a_run_keeps_a_budget_that_was_updated_until_its_file_changes(shell: Shell) -> None:
    shell.write("one.py", "def objective(trial):\n    return trial.suggest_float('x', 0, 1)\n")
    text = 'name = "one"\nobjective = "one.py:objective"\n[budget]\ntrials = {}\n'
    shell.write("one.toml", text.format(3))
    run = ("run", "one.toml", "--workers", "1")
    assert "3/3 trials" in shell.hpo(*run)
    shell.hpo("update", "one", "--trials", "5")
    output = shell.hpo(*run)
    assert "one keeps the budget that `hpo update` gave it: trials 5 (not 3)" in output
    assert "5/5 trials" in output
    shell.write("one.toml", text.format(6))
    output = shell.hpo(*run)
    assert "keeps the budget" not in output
    assert "6/6 trials" in output
    assert "7/7 trials" in shell.hpo(*run, "--trials", "7")


def test_an_objective_that_raises_fails_its_trial_and_not_its_study(shell: Shell) -> None:
    shell.write(
        "half.py",
        "def objective(trial):\n"
        "    x = trial.suggest_int('x', 0, 1)\n"
        "    if x == 0:\n"
        "        raise RuntimeError('half of them fail')\n"
        "    return float('nan') if trial.number % 5 == 4 else x\n",
    )
    shell.hpo("run", "--objective", "half.py:objective", "--trials", "10", "--workers", "1")
    states = shell.states()
    assert sum(states.values()) == 10
    assert states["FAIL"] > 0
    assert states["COMPLETE"] > 0
    # Whoever can write to the database could name any function: this machine has to allow it.
    shell.hpo("update", "half", "--trials", "12")
    output = shell.hpo("worker", "half", "--workers", "1", expect=4)
    assert "may not run here" in output
    assert "--allow half.py:objective" in output
    kinds = dict(shell.query("SELECT kind, count(*) FROM hpo_event GROUP BY kind"))
    assert kinds["user_code"] > 0


def test_the_end_of_a_study_whose_trials_were_all_pruned_says_why(shell: Shell) -> None:
    shell.write(
        "pruned.py",
        "import optuna\n\ndef objective(trial):\n"
        "    trial.suggest_float('x', 0, 1)\n"
        "    raise optuna.TrialPruned('too large')\n",
    )
    output = shell.hpo("run", "--objective", "pruned.py:objective", "--trials", "2", "-j", "1")
    assert "so there is no best one; trial 0 was pruned: too large" in output
    (line,) = (line for line in output.splitlines() if "next: " in line)
    assert line.strip() == "next: hpo show pruned · hpo dashboard"
    shell.hpo("plot", "history", "pruned", expect=1)
    assert "too large" in shell.hpo("show", "pruned")


def test_a_choice_of_none_is_told_from_a_parameter_that_does_not_apply(shell: Shell) -> None:
    shell.write(
        "choices.py",
        "def objective(trial):\n"
        "    act = trial.suggest_categorical('act', [None, 'relu'])\n"
        "    return trial.suggest_float('z', 0, 1) if act else 1.0\n",
    )
    command = ("run", "--objective", "choices.py:objective", "--trials", "6", "-j", "1")
    shell.hpo(*command, "--sampler", "random")
    head, *rows = (line.split()[-2:] for line in shell.hpo("trials", "choices").splitlines())
    assert head == ["act", "z"]
    assert {act for act, _ in rows} == {"None", "relu"}
    assert all((act == "None") == (z == "-") for act, z in rows)
