"""What the search of an objective brings, as its user gets it from the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.promises.blocks import all_blocks
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_FIRST = "docs/objectives.md#Optuna objectives"
_TAKEN_OVER = "docs/objectives.md#What is taken over from the script"

FUNCTIONS = """
import math
import optuna

def quadratic(trial):
    x, y = trial.suggest_float("x", -10, 10), trial.suggest_float("y", -10, 10)
    return (x - 2) ** 2 + (y + 3) ** 2

def conditional(trial):
    if trial.suggest_categorical("kind", ["line", "curve", "step"]) != "curve":
        return 1.0 + trial.suggest_float("slope", 0.0, 1.0)
    rate = trial.suggest_float("rate", 1e-4, 1.0, log=True)
    n = trial.suggest_int("n", 1, 30)
    return (math.log10(rate) + 2.0) ** 2 + (n - 11) ** 2 / 100

def reporting(trial):
    x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
    for step in range(10):
        value = (x - 0.3) ** 2 + y + 1 / (step + 1)
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value

def support_vectors(trial):
    from sklearn.datasets import load_wine
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import SVC
    x, y = load_wine(return_X_y=True)
    c = trial.suggest_float("c", 1e-3, 1e5, log=True)
    gamma = trial.suggest_float("gamma", 1e-8, 1e1, log=True)
    return cross_val_score(SVC(C=c, gamma=gamma), x, y, cv=3).mean()
"""


def _trials(installed: Installed, function: str, n: int, *options: str) -> list[dict[str, Any]]:
    """Runs a study, and returns its trials: none failed, no point twice."""
    installed.write("f.py", FUNCTIONS)
    name = "-".join([function, *(option.strip("-") for option in options)])
    run = ("run", "--objective", f"f.py:{function}", "--trials", str(n), "--name", name)
    assert f"{n}/{n} trials" in installed.hpo(*run, *options)
    trials = json.loads(installed.hpo("trials", name, "-f", "json"))
    assert len(trials) == n
    assert {trial["state"].upper() for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert len({json.dumps(trial["params"], sort_keys=True) for trial in trials}) == n
    return trials


def _best(trials: list[dict[str, Any]], sign: float = 1.0) -> float:
    complete = [t["value"] for t in trials if t["state"].upper() == "COMPLETE"]
    return sign * min(sign * value for value in complete)


def test_two_workers_with_the_defaults_find_the_minimum(installed: Installed) -> None:
    assert _best(_trials(installed, "quadratic", 40, "-j", "2")) < 1e-3


def test_conditional_parameters_are_searched_by_default(installed: Installed) -> None:
    found = _best(_trials(installed, "conditional", 30, "-j", "2"))
    chance = _best(_trials(installed, "conditional", 30, "-j", "2", "--sampler", "random"))
    assert found < 0.02
    assert found < 0.2 * chance


def test_a_pruning_objective_ends_well_with_the_defaults(installed: Installed) -> None:
    trials = _trials(installed, "reporting", 24, "-j", "2")
    stopped = [t for t in trials if t["state"].upper() == "PRUNED"]
    assert len(stopped) <= 20
    assert _best(trials) < 0.15
    # A search that goes well tries few points bad enough; this one is.
    name = "reporting-j-2"
    installed.hpo("enqueue", name, "x=0.95", "y=0.95")
    installed.hpo("run", "--objective", "f.py:reporting", "--trials", "25", "--name", name)
    *_, bad = json.loads(installed.hpo("trials", name, "-f", "json"))
    assert (bad["params"], bad["state"].upper()) == ({"x": 0.95, "y": 0.95}, "PRUNED")
    assert bad["n_epochs"] < 10


def test_one_small_real_task_is_solved_better_than_by_chance(installed: Installed) -> None:
    found = _best(_trials(installed, "support_vectors", 25, "--direction", "maximize"), -1.0)
    chance = _best(
        _trials(installed, "support_vectors", 25, "--direction", "maximize", "--sampler", "random"),
        -1.0,
    )
    assert found >= 0.92
    assert found > chance


@pytest.mark.shows("README.md#Your own script", "README.md#Your own script/2")
def test_readmes_objective(installed: Installed) -> None:
    blocks = all_blocks()
    installed.write("train.py", blocks["README.md#Your own script"].text)
    (run,) = blocks["README.md#Your own script/2"].commands
    printed = installed.bash(run)
    assert "train.py: not taken over: n_trials 100 (--trials 100)" in printed
    assert "20/20 trials" in printed
    best = json.loads(installed.hpo("best", "train", "-f", "json"))
    assert best["value"] < 0.01
    assert 1.9 < best["params"]["x"] < 2.1
    assert installed.states().keys() <= {"COMPLETE", "PRUNED"}
    assert installed.states().get("PRUNED", 0) >= 1


@pytest.mark.shows(_FIRST, _TAKEN_OVER)
def test_the_scripts_direction_as_docs_show_it(installed: Installed) -> None:
    blocks = all_blocks()
    script = (
        "import optuna\n\n\ndef objective(trial):\n"
        '    return 1 - trial.suggest_float("x", 0, 1) ** 2\n\n\nif __name__ == "__main__":\n'
        '    optuna.create_study(direction="maximize",\n'
        "        sampler=optuna.samplers.CmaEsSampler()).optimize(objective, n_trials=100)\n"
    )
    installed.write("train.py", script)
    (first,) = blocks[_FIRST].commands
    assert "100/100 trials" in installed.bash(first + " --sampler random")
    (run,) = blocks[_TAKEN_OVER].commands
    installed.bash("rm hpo.db")
    printed = installed.bash(run)
    assert "train.py:9 creates its study with direction maximize: taken over" in printed
    assert "sampler CmaEsSampler (--sampler cmaes) in line 9" in printed
    assert _best(json.loads(installed.hpo("trials", "train", "-f", "json")), -1.0) > 0.999
