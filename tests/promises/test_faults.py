"""What a user sees of trials that fail, and of faults that are not his."""

from __future__ import annotations

import optuna

from tests.promises.conftest import Installed

RETURNS = """
import argparse
import sys

import numpy as np
import optuna
import torch


class Unreadable(Exception):
    def __str__(self):
        raise RuntimeError


def leave():
    sys.exit("bad configuration")


def usage():
    argparse.ArgumentParser().parse_args(["--nope"])


def surrogate():
    raise ValueError("\\ud800")


def unreadable():
    raise Unreadable


def generator():
    raise GeneratorExit


def huge():
    raise ValueError("x" * 5_000_000)


def pruned():
    raise optuna.TrialPruned("too large")


BAD = [leave, usage, surrogate, unreadable, generator, huge, pruned,
       lambda: None, lambda: "much", lambda: 1j, lambda: np.ones(2), lambda: torch.ones(2)]


def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    if trial.number % 3:
        return x
    return BAD[trial.number // 3]()


def stops(trial):
    if trial.number == 3:
        trial.study.stop()
    return trial.suggest_float("x", 0, 1)


def two(trial):
    x = trial.suggest_float("x", 0, 1)
    return x, 1 - x
"""


def test_whatever_an_objective_does_ends_its_trial_and_no_worker(installed: Installed) -> None:
    installed.write("o.py", RETURNS)
    output = installed.hpo("run", "--objective", "o.py:objective", "--trials", "36", "-j", "1")
    assert "died" not in output
    assert "trial 0 failed: SystemExit: bad configuration" in output
    assert installed.states() == {"COMPLETE": 24, "FAIL": 11, "PRUNED": 1}
    reasons = installed.query(
        "SELECT kind, count(*) FROM hpo_event JOIN trials USING (trial_id) "
        "WHERE kind != 'complete' GROUP BY kind"
    )
    assert dict(reasons) == {"user_code": 11, "pruned": 1}
    ((longest,),) = installed.query("SELECT max(length(message)) FROM hpo_event")
    assert longest < 50_000
    assert "too large" in installed.hpo("show", "o")


def test_study_stop_ends_the_study_as_under_optuna(installed: Installed) -> None:
    installed.write("o.py", RETURNS)
    output = installed.hpo("run", "--objective", "o.py:stops", "--trials", "20", "-j", "1")
    assert "4/20 trials" in output
    assert "the objective called study.stop()" in output
    assert installed.states() == {"COMPLETE": 4}


def test_missing_directions_are_told_at_the_first_trial(installed: Installed) -> None:
    installed.write("o.py", RETURNS)
    run = ("run", "--objective", "o.py:two", "--trials", "8", "-j", "1")
    output = installed.hpo(*run, expect=1)
    assert installed.states() == {"FAIL": 1}
    assert "returned 2 values" in output.partition("error: ")[2]
    assert "--direction minimize --direction maximize" in output.partition("error: ")[2]
    assert "hpo resume" not in output
    installed.hpo(*run, "--direction", "minimize", "--direction", "maximize")
    study = optuna.load_study(study_name="o", storage=f"sqlite:///{installed.folder}/hpo.db")
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert installed.states() == {"COMPLETE": 8}


OWN = """
import torch
from torch import nn
import hpo
import hpo.run.worker.worker_loop


class Line(hpo.Task):
    def data(self):
        x = torch.linspace(0, 1, 40)
        return hpo.Data.split(x[:, None], 2 * x)

    def model(self, params):
        return nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))


class Breaks(Line):
    \"\"\"Breaks hpo itself, in every worker.\"\"\"

    def setup(self):
        hpo.run.worker.worker_loop.AWAY = property()
        hpo.run.worker.worker_loop.Worker._refill = None
"""
STUDY = """
task = "own.py:{}"
[budget]
trials = 2
epochs = 1
[space]
learning_rate = {{ low = 0.001, high = 0.1 }}
"""


def test_a_study_without_a_metric_takes_the_usual_one(installed: Installed) -> None:
    installed.write("own.py", OWN)
    installed.write("line.toml", STUDY.format("Line"))
    assert "optimises   minimize val_loss" in installed.hpo("check", "line.toml")
    installed.hpo("run", "line.toml", "-j", "1")
    assert installed.states() == {"COMPLETE": 2}


def test_a_worker_that_dies_of_one_error_again_and_again_ends_the_run(
    installed: Installed,
) -> None:
    installed.write("own.py", OWN)
    installed.write("line.toml", STUDY.format("Breaks"))
    output = installed.hpo("run", "line.toml", "-j", "1", expect=1)
    assert output.count("starting another in its place") == 2
    last = output.partition("error: ")[2]
    assert "died 3 times of the same error before its first epoch" in last
    assert "TypeError: 'NoneType' object is not callable at hpo/run/worker/worker_loop.py:" in last
    assert "please report it" in last


def test_a_task_that_is_none_is_refused_at_once(installed: Installed) -> None:
    abstract = STUDY.format("Line").replace("own.py:Line", "hpo:Task")
    installed.write("abstract.toml", abstract)
    output = installed.hpo("run", "abstract.toml", expect=4)
    assert "Task must define data()" in output
    # Somebody else has put it into the database.
    installed.python(
        "from hpo import StudySpec\n"
        "from hpo.store.db.opening import open_database\n"
        "from hpo.store.studies import studies\n"
        "spec = StudySpec(name='a', task='hpo:Task', metric='val_loss', direction='minimize',\n"
        "    budget={'trials': 2, 'epochs': 1}, space={'learning_rate': {'low': .1, 'high': 1.}})\n"
        "studies.create_or_join(open_database('sqlite:///hpo.db', create=True), spec, None)\n"
    )
    output = installed.hpo("worker", "a", "-j", "1", "--allow", "hpo:Task", expect=4)
    assert "Task must define data()" in output
    assert "starting another" not in output


def test_files_that_cannot_be_kept_are_told_before_a_study_is_made(installed: Installed) -> None:
    installed.write("own.py", OWN)
    installed.write("line.toml", STUDY.format("Line"))
    installed.write("taken", "a file")
    output = installed.hpo("run", "line.toml", "--artifacts", "taken/x", expect=5)
    assert "taken is no folder" in output
    assert installed.query("SELECT * FROM studies") == []
