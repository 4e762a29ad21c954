"""Orders from another terminal reach the workers of a running study within seconds."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

# Longer than the time between two heartbeats, by which workers learn of orders.
SOON_S = 15.0
TASK = '''
import time

import hpo
from torch import nn


class Slow(hpo.Task):
    """Digits, an epoch of which takes a while."""

    def data(self):
        return hpo.data.digits()

    def model(self, params):
        return nn.Linear(64, 10)

    def metrics(self, outputs, targets):
        time.sleep(0.05)
        return super().metrics(outputs, targets)
'''
STUDY = """
name   = "slow"
task   = "slow.py:Slow"
metric = "val_accuracy"

[budget]
trials = {trials}
epochs = {epochs}

[space]
learning_rate = {{ low = 0.01, high = 0.1 }}

[sampler]
name = "random"

[pruner]
name = "none"
"""


OBJECTIVE = """
import pathlib


def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    if pathlib.Path("broken").exists():
        raise ValueError("broken on purpose")
    return x
"""


def _write(shell: Shell, trials: int, epochs: int) -> None:
    shell.write("slow.py", TASK)
    shell.write("slow.toml", STUDY.format(trials=trials, epochs=epochs))


def _until_soon(shell: Shell, condition: Any, what: str) -> None:
    began_s = time.monotonic()
    shell.until(condition, what)
    assert time.monotonic() - began_s < SOON_S


def _n(shell: Shell, state: str) -> int:
    return shell.states().get(state, 0)


def _n_epochs(shell: Shell) -> int:
    return int(shell.query("SELECT count(*) FROM hpo_epoch")[0][0])


def _n_owned(shell: Shell) -> int:
    return int(shell.query("SELECT count(*) FROM hpo_lease WHERE worker_id IS NOT NULL")[0][0])


def test_two_workers_are_paused_resumed_updated_and_stopped(shell: Shell) -> None:
    _write(shell, trials=1000, epochs=10)
    process = shell.start("run", "slow.toml", "--workers", "2")
    shell.until(lambda: _n(shell, "COMPLETE") >= 1 and _n_owned(shell) >= 2, "trials")

    assert "slow is paused" in shell.hpo("pause", "slow")
    _until_soon(shell, lambda: _n_owned(shell) == 0, "the trials to be suspended")
    n_epochs, n_trials = _n_epochs(shell), sum(shell.states().values())
    assert json.loads(shell.hpo("show", "slow", "-f", "json"))["state"] == "paused"
    time.sleep(2)
    assert (_n_epochs(shell), sum(shell.states().values())) == (n_epochs, n_trials)
    assert shell.query("SELECT count(*) FROM hpo_worker WHERE ended_at IS NULL") == [(2,)]

    put_down = [number for (number,) in shell.query("SELECT trial_id FROM hpo_lease")]
    assert "slow is active" in shell.hpo("resume", "slow")
    _until_soon(shell, lambda: _n_epochs(shell) > n_epochs, "an epoch")
    shell.until(
        lambda: all(
            shell.query(f"SELECT 1 FROM trials WHERE trial_id={t} AND state='COMPLETE'")
            for t in put_down
        ),
        "the suspended trials to be complete",
    )

    # The command takes a moment to start, and stacks of trials go on meanwhile.
    n = sum(shell.states().values()) + 200
    assert f"trials 1,000 -> {n}" in shell.hpo("update", "slow", "--trials", str(n))
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert f"{n}/{n} trials" in output
    assert shell.states() == {"COMPLETE": n}

    # More of it, and this time it is told to stop.
    assert "it resumes" in shell.hpo("update", "slow", "--trials", "1000")
    process = shell.start("worker", "slow", "--workers", "2", "--allow", "slow.py:Slow")
    shell.until(lambda: _n_owned(shell) >= 2, "trials")
    assert "slow is stopped" in shell.hpo("stop", "slow")
    began_s = time.monotonic()
    output, _ = process.communicate(timeout=180)
    assert time.monotonic() - began_s < SOON_S
    assert (process.returncode, "hpo resume slow" in output) == (130, True)
    assert _n(shell, "RUNNING") == 0
    stopped = shell.query("SELECT count(*) FROM hpo_event WHERE kind = 'stopped' AND trial_id > 0")
    assert stopped == [(_n(shell, "PRUNED"),)]
    assert "is stopped" in shell.hpo("worker", "slow", expect=1)


def test_a_cancelled_trial_is_dropped_and_another_takes_its_place(shell: Shell) -> None:
    _write(shell, trials=2, epochs=160)
    process = shell.start("run", "slow.toml", "--workers", "1")
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch WHERE epoch >= 2"), "an epoch")
    number, *_ = shell.query("SELECT min(number) FROM trials WHERE state = 'RUNNING'")[0]
    assert f"cancelled trial {number}" in shell.hpo("cancel", "slow", str(number))
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert shell.states() == {"COMPLETE": 2, "FAIL": 1}
    assert "cancelled" in shell.hpo("show", "slow")


def test_a_study_whose_trials_fail_stops_itself_and_can_be_mended(shell: Shell) -> None:
    shell.write("it.py", OBJECTIVE)
    shell.write("it.toml", 'name = "it"\nobjective = "it.py:objective"\n[budget]\ntrials = 20\n')
    shell.write("broken", "")
    output = shell.hpo("run", "it.toml", "--workers", "1", expect=1)
    why = "it stopped itself: 5 of the last 5 trials failed: ValueError: broken on purpose"
    assert why in output
    assert why in shell.hpo("run", "it.toml", expect=1)
    assert shell.states() == {"FAIL": 5}
    page = shell.hpo("show", "it")
    assert "it · stopped" in page
    assert "user code  5     trials 0, 1, 2, 3, 4: ValueError: broken on purpose (it.py:" in page

    (shell.folder / "broken").unlink()
    shell.hpo("resume", "it")
    assert "trial 0 as 5" in shell.hpo("retry", "it", "--reason", "user_code")
    assert "trial 10 waits to start with x = 0.25" in shell.hpo("enqueue", "it", "x=0.25")
    shell.hpo("run", "it.toml", "--trials", "8", "--workers", "2")
    assert shell.states() == {"FAIL": 5, "COMPLETE": 8}
    trials = json.loads(shell.hpo("trials", "it", "-f", "json"))
    assert [t["user_attrs"].get("retried_from") for t in trials[5:10]] == [0, 1, 2, 3, 4]
    for old, new in zip(trials[:5], trials[5:10], strict=True):
        assert old["params"] == new["params"]
    assert trials[10]["params"] == {"x": 0.25}
