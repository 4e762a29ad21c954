"""Confirmations with real processes: interrupted and continued, and the seeds that reach code."""

from __future__ import annotations

import json
import shutil
import signal
from typing import Any

import pytest

from tests.e2e.conftest import Shell
from tests.e2e.test_run import STUDY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

PRUNER = '[pruner]\nname = "none"\n'
OBJECTIVE = """
import hpo
def objective(trial):
    trial.suggest_float("x", 0, 1)
    return float(hpo.Run(trial).seed)
"""
COMMAND = "import os; print('loss=%d' % (2 * int(os.environ['HPO_SEED'])))"


def _values(found: dict[str, Any]) -> dict[int, list[float]]:
    return {t["number"]: [run["value"] for run in t["runs"]] for t in found["trials"]}


def test_an_interrupted_confirmation_ends_as_one_that_was_not(shell: Shell) -> None:
    shell.write("small.toml", STUDY.format(trials=2, epochs=20) + PRUNER)
    shell.hpo("run", "small.toml", "--workers", "1")
    shutil.copy(shell.folder / "hpo.db", shell.folder / "copy.db")
    confirm = ("confirm", "small.toml", "--top", "2", "--seeds", "3", "--workers", "1")
    whole = json.loads(shell.hpo(*confirm, "-f", "json", "--storage", "sqlite:///copy.db"))
    process = shell.start(*confirm)
    begun = "SELECT 1 FROM hpo_epoch JOIN trials USING (trial_id) WHERE study_id = 2"
    shell.until(lambda: shell.query(begun), "an epoch of a run")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "95% interval" not in output
    shell.hpo(*confirm)
    assert shell.query("SELECT count(*) FROM trials WHERE study_id = 2") == [(6,)]
    found = json.loads(shell.hpo(*confirm, "-f", "json"))
    assert found["is_complete"]
    assert found["seeds"] == whole["seeds"]
    assert {n: pytest.approx(v) for n, v in _values(found).items()} == _values(whole)
    # The seed makes a difference.
    assert all(len(set(values)) > 1 for values in _values(found).values())
    assert shell.query("SELECT count(*) FROM trials WHERE study_id = 2") == [(6,)]


def test_code_gets_the_seed_of_its_run(shell: Shell) -> None:
    shell.write("own.py", OBJECTIVE)
    one = ("--workers", "1")
    shell.hpo("run", "--objective", "own.py:objective", "--name", "own", "--trials", "3", *one)
    allow = ("--allow", "own.py:objective", "-f", "json")
    found = json.loads(shell.hpo("confirm", "own", "--top", "2", "--seeds", "2", *allow, *one))
    assert _values(found).keys() <= {0, 1, 2}
    assert list(_values(found).values()) == [list(map(float, found["seeds"]))] * 2
    # Both reach the same with each seed.
    assert found["is_confirmed"] is False

    shell.write("train.py", COMMAND)
    given = ("--metric", "loss", "--pattern", "loss=(?P<loss>[0-9]+)", "--trials", "2", *one)
    shell.hpo("run", "--name", "cmd", *given, "--", "python", "train.py", "--x", "~uniform(0, 1)")
    allow = ("--allow", "python train.py --x {x}", "-f", "json")
    found = json.loads(shell.hpo("confirm", "cmd", "--top", "2", "--seeds", "2", *allow, *one))
    assert list(_values(found).values()) == [[2.0 * seed for seed in found["seeds"]]] * 2
    best = shell.hpo("best", "cmd-confirm")
    assert "python train.py --x" in best
