"""Trials that take longer than they may: late ones, and those whose code never returns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

# Trial 1 starts a process and waits for it, for ever; the others end at once.
HANGS = """
import pathlib
import subprocess


def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    trial.report(x, 0)
    if trial.number == 1:
        child = subprocess.Popen(["sleep", "3600"])
        pathlib.Path(__file__).with_name("child").write_text(str(child.pid))
        child.wait()
    return x
"""

# A trial is over its limit after a few epochs.
SLOW = """
import time

from torch import nn

import hpo


class Slow(hpo.Task):
    def data(self):
        return hpo.data.digits()

    def model(self, params):
        return nn.Linear(64, 10)

    def metrics(self, outputs, targets):
        time.sleep(0.3)
        return {"accuracy": (outputs.argmax(1) == targets).double().mean()}
"""
STUDY = """
name   = "slow"
task   = "slow.py:Slow"
metric = "val_accuracy"
pruner = "none"

[budget]
trials      = 2
epochs      = 500
trial_hours = 0.0005

[space]
learning_rate = { low = 1e-3, high = 0.3 }
"""


def _outcomes(shell: Shell) -> dict[int, tuple[str, str | None, str | None]]:
    rows = shell.query(
        "SELECT number, state, kind, message FROM trials LEFT JOIN hpo_event"
        " ON hpo_event.trial_id = trials.trial_id ORDER BY number, event_id"
    )
    return {number: (state, kind, message) for number, state, kind, message in rows}


def _is_alive(pid: int) -> bool:
    try:
        # A child whose parent is gone and that nobody has waited for yet is no longer alive.
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return status != "Z"


def test_an_objective_that_never_returns_times_out_and_its_worker_is_replaced(
    shell: Shell,
) -> None:
    shell.write("hangs.py", HANGS)
    output = shell.hpo(
        "run", "--objective", "hangs.py:objective", "--trials", "4",
        "--trial-hours", "0.0005", "--workers", "1",
    )  # fmt: skip
    assert "4/4 trials" in output
    outcomes = _outcomes(shell)
    assert outcomes[1][:2] == ("FAIL", "timeout")
    assert "its code has not come back for" in str(outcomes[1][2])
    assert "a trial may take 1.8 s (trial_hours = 0.0005)" in str(outcomes[1][2])
    assert [outcomes[n][0] for n in (0, 2, 3)] == ["COMPLETE"] * 3
    # No machine was lost, and no worker is left: the one that hung, and the one in its place.
    assert shell.query("SELECT count(*) FROM hpo_event WHERE kind = 'lost'") == [(0,)]
    assert shell.query("SELECT count(*), count(ended_at) FROM hpo_worker") == [(2, 2)]
    child = int((shell.folder / "child").read_text())
    shell.until(lambda: not _is_alive(child), "the end of what the objective had started")

    page = shell.hpo("show", "hangs")
    assert "timeout  " in page
    assert "trial 1: its code has not come back" in page
    assert "enqueued again: trial 1 as 4" in shell.hpo("retry", "hangs", "--reason", "timeout")
    shell.hpo("run", "--objective", "hangs.py:objective", "--trials", "4", "--workers", "1")
    assert _outcomes(shell)[4][0] == "COMPLETE"


def test_an_objective_is_told_at_its_next_report(shell: Shell) -> None:
    shell.write(
        "late.py",
        "import time\n"
        "def objective(trial):\n"
        "    for step in range(10_000):\n"
        "        time.sleep(0.05)\n"
        "        trial.report(1.0, step)\n"
        "    return 1.0\n",
    )
    shell.hpo(
        "run", "--objective", "late.py:objective", "--trials", "2", "--pruner", "none",
        "--trial-hours", "0.0001", "--workers", "1", expect=1,
    )  # fmt: skip
    outcomes = _outcomes(shell)
    assert [outcome[:2] for outcome in outcomes.values()] == [("FAIL", "timeout")] * 2
    assert str(outcomes[0][2]).startswith("took 0.")
    # Told by its own worker, which went on.
    assert shell.query("SELECT count(*) FROM hpo_worker") == [(1,)]


def test_a_trial_of_a_task_ends_with_the_epoch_that_takes_it_over_its_limit(shell: Shell) -> None:
    shell.write("slow.py", SLOW)
    shell.write("slow.toml", STUDY)
    shell.hpo("run", "slow.toml", "--workers", "1", expect=1)
    outcomes = _outcomes(shell)
    assert [outcome[:2] for outcome in outcomes.values()] == [("FAIL", "timeout")] * 2
    for (trial_id,) in shell.query("SELECT trial_id FROM trials"):
        spent = (
            f"SELECT count(*), sum(seconds), max(seconds) FROM hpo_epoch WHERE trial_id={trial_id}"
        )
        ((n_epochs, seconds, longest),) = shell.query(spent)
        assert n_epochs >= 2
        assert seconds > 1.8 >= seconds - longest
    assert shell.query("SELECT count(*) FROM hpo_worker") == [(1,)]


def test_a_limit_that_is_set_under_way_holds_for_running_trials(shell: Shell) -> None:
    shell.write("slow.py", SLOW)
    shell.write("slow.toml", STUDY.replace("trial_hours = 0.0005", ""))
    process = shell.start("run", "slow.toml", "--workers", "1")
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch"), "an epoch")
    told = shell.hpo("update", "slow", "--trial-hours", "0.0005")
    assert "trial hours none -> 0.0005" in told
    process.communicate(timeout=180)
    assert [outcome[:2] for outcome in _outcomes(shell).values()] == [("FAIL", "timeout")] * 2
