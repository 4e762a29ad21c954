"""A study from its file to its end: run, raised, interrupted, killed, continued."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

STUDY = """
name      = "small"
task      = "digits-mlp"
metric    = "val_accuracy"
direction = "maximize"

[budget]
trials = {trials}
epochs = {epochs}

[space]
learning_rate = {{ low = 1e-3, high = 0.3, log = true }}
batch_size    = {{ choices = [64, 128] }}
momentum      = {{ low = 0.0, high = 0.95 }}
depth         = {{ low = 1, high = 2 }}
width         = 32

[sampler]
name = "random"
"""


def _study(shell: Shell, trials: int, epochs: int) -> None:
    shell.write("small.toml", STUDY.format(trials=trials, epochs=epochs))


def _finished(shell: Shell) -> int:
    states = shell.states()
    return sum(states.get(name, 0) for name in ("COMPLETE", "PRUNED", "FAIL"))


def _assert_whole(shell: Shell, n_trials: int) -> None:
    """Nothing is left over: every trial has ended, none twice, every lease is free."""
    assert _finished(shell) == n_trials
    assert sum(shell.states().values()) == n_trials
    numbers = [n for (n,) in shell.query("SELECT number FROM trials ORDER BY number")]
    assert numbers == list(range(n_trials))
    assert shell.query("SELECT count(*) FROM hpo_lease WHERE worker_id IS NOT NULL") == [(0,)]


def _assert_curves_are_whole(shell: Shell, epochs: int) -> None:
    """Every complete trial has each of its epochs exactly once, in our table and in Optuna's."""
    complete = [i for (i,) in shell.query("SELECT trial_id FROM trials WHERE state = 'COMPLETE'")]
    assert complete
    expected = list(range(1, epochs + 1))
    for trial_id in complete:
        ours = shell.query(f"SELECT epoch FROM hpo_epoch WHERE trial_id={trial_id} ORDER BY 1")
        optunas = shell.query(
            f"SELECT step FROM trial_intermediate_values WHERE trial_id={trial_id} ORDER BY 1"
        )
        assert [epoch for (epoch,) in ours] == expected
        assert [step for (step,) in optunas] == expected


def test_a_study_runs_to_its_end_and_goes_on_when_its_budget_is_raised(shell: Shell) -> None:
    _study(shell, trials=5, epochs=3)
    output = shell.hpo("run", "small.toml", "--workers", "2")
    assert "5/5 trials" in output
    assert "best 0." in output
    assert "test_accuracy" not in output
    assert "test 0." not in output
    _assert_whole(shell, 5)
    _assert_curves_are_whole(shell, 3)

    first = shell.query("SELECT trial_id, datetime_complete FROM trials ORDER BY 1")
    output = shell.hpo("run", "small.toml", "--workers", "1", "--trials", "7")
    assert "7/7 trials" in output
    _assert_whole(shell, 7)
    # What was there before is untouched.
    assert shell.query("SELECT trial_id, datetime_complete FROM trials ORDER BY 1")[:5] == first

    study = optuna.load_study(study_name="small", storage=f"sqlite:///{shell.folder}/hpo.db")
    assert len(study.trials) == 7
    assert study.best_value > 0.5
    done = study.get_trials(states=[TrialState.COMPLETE])
    assert all(set(trial.intermediate_values) == {1, 2, 3} for trial in done)
    best = json.loads(shell.hpo("best", "small", "-f", "json"))
    assert best["number"] == study.best_trial.number


def test_ctrl_c_leaves_a_study_that_the_same_command_finishes(shell: Shell) -> None:
    _study(shell, trials=12, epochs=60)
    process = shell.start("run", "small.toml", "--workers", "2")
    # Most trials pause, and end together with the study.
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch WHERE epoch >= 3"), "some epochs")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert _finished(shell) < 12
    assert shell.query("SELECT count(*) FROM hpo_lease WHERE worker_id IS NOT NULL") == [(0,)]

    shell.hpo("run", "small.toml", "--workers", "2")
    _assert_whole(shell, 12)
    _assert_curves_are_whole(shell, 60)
    # To be interrupted is nobody's fault, so it costs a trial none of its attempts.
    assert shell.query("SELECT max(attempt) - min(attempt) FROM hpo_lease") in ([(0,)], [(None,)])


def test_a_worker_that_is_killed_is_replaced_and_its_trial_goes_on(shell: Shell) -> None:
    _study(shell, trials=8, epochs=40)
    process = shell.start("run", "small.toml", "--workers", "2")
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch WHERE epoch >= 3"), "some epochs")
    ((pid,),) = shell.query("SELECT pid FROM hpo_worker WHERE ended_at IS NULL LIMIT 1")
    os.kill(pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    _assert_whole(shell, 8)
    _assert_curves_are_whole(shell, 40)
    assert shell.query("SELECT count(*) FROM hpo_worker")[0][0] == 3


def test_a_run_that_is_killed_with_all_its_workers_is_finished_by_the_next(shell: Shell) -> None:
    _study(shell, trials=6, epochs=60)
    process = shell.start("run", "small.toml", "--workers", "2")
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch WHERE epoch >= 3"), "some epochs")
    process.send_signal(signal.SIGKILL)
    for (pid,) in shell.query("SELECT pid FROM hpo_worker WHERE ended_at IS NULL"):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert shell.states()["RUNNING"] > 0

    shell.hpo("run", "small.toml", "--workers", "2")
    _assert_whole(shell, 6)
    _assert_curves_are_whole(shell, 60)


def test_workers_whose_run_was_killed_put_their_trials_down_by_themselves(shell: Shell) -> None:
    _study(shell, trials=50, epochs=200)
    process = shell.start("run", "small.toml", "--workers", "1")
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch WHERE epoch >= 3"), "some epochs")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    shell.until(
        lambda: shell.query("SELECT 1 FROM hpo_worker WHERE ended_at IS NOT NULL"),
        "the worker to leave",
    )
    assert shell.query("SELECT count(*) FROM hpo_lease WHERE worker_id IS NOT NULL") == [(0,)]


def test_a_study_of_which_every_trial_fails_has_failed(shell: Shell) -> None:
    shell.write("fails.py", FAILING_TASK)
    shell.write("fails.toml", FAILS)
    output = shell.hpo("run", "fails.toml", "--workers", "1", expect=1)
    assert "error: every trial failed\nhint: `hpo show fails` shows why" in output
    assert shell.states() == {"FAIL": 2}


def test_python_runs_a_study_in_a_thread_of_a_script_without_a_main_guard(shell: Shell) -> None:
    _study(shell, trials=2, epochs=2)
    shell.write("script.py", SCRIPT)
    output = subprocess.run(
        [sys.executable, "-W", "error", "script.py"],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (output.stdout, output.stderr) == ("2 done\n3 done\n", "")


def test_a_second_machine_joins_by_name(shell: Shell) -> None:
    # One by one: fused, they would be through before the other machine has joined.
    shell.write("small.toml", f'engine = "solo"\n{STUDY.format(trials=100, epochs=20)}')
    process = shell.start("run", "small.toml", "--workers", "1")
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch"), "an epoch")
    # Else it may have ended before another process has started.
    shell.hpo("pause", "small")
    other = shell.start("worker", "small", "--workers", "1")
    n_workers = "SELECT count(*) FROM hpo_worker"
    shell.until(lambda: shell.query(n_workers) == [(2,)], "the second worker")
    shell.hpo("resume", "small")
    output, _ = other.communicate(timeout=180)
    assert "Traceback" not in output
    process.communicate(timeout=180)
    assert process.returncode == 0
    _assert_whole(shell, 100)
    assert len(shell.query("SELECT DISTINCT worker_id FROM hpo_worker")) == 2


def test_a_task_of_ones_own_and_one_whose_code_raises(shell: Shell) -> None:
    shell.write("mine.py", OWN_TASK)
    shell.write(
        "mine.toml",
        'name = "mine"\ntask = "mine.py:Digits"\nmetric = "val_accuracy"\n'
        "[budget]\ntrials = 6\nepochs = 2\n"
        "[space]\nlearning_rate = 0.1\nwidth = { choices = [8, 16, 32] }\n"
        "broken = { choices = [true, false] }\n"
        '[sampler]\nname = "grid"\n',
    )
    output = shell.hpo("run", "mine.toml", "--workers", "1")
    assert shell.states()["FAIL"] == 3
    messages = [m for (m,) in shell.query("SELECT message FROM hpo_event WHERE kind='user_code'")]
    assert len(messages) == 3
    assert all("ValueError: broken on purpose" in message for message in messages)
    assert all("Traceback" in message for message in messages)
    assert "broken on purpose" in output


OWN_TASK = '''
import hpo
from torch import nn


class Digits(hpo.Task):
    """8x8 handwritten digits, 10 classes."""

    def data(self):
        return hpo.data.digits()

    def model(self, params):
        if params.broken:
            raise ValueError("broken on purpose")
        return nn.Sequential(nn.Linear(64, params.width), nn.ReLU(), nn.Linear(params.width, 10))
'''


FAILING_TASK = """
import hpo
from torch import nn


class Fails(hpo.Task):
    def data(self):
        return hpo.data.digits()

    def model(self, params):
        return nn.Linear(64, 10)

    def loss(self, outputs, targets):
        # What looks at the task before the study does so without gradients.
        assert not outputs.requires_grad, "broken on purpose"
        return super().loss(outputs, targets)
"""

FAILS = """
task   = "fails.py:Fails"
metric = "val_accuracy"

[budget]
trials = 2

[space]
learning_rate = { low = 0.1, high = 0.2 }
"""

SCRIPT = """
import threading

import hpo


def tune():
    for trials in (2, 3):
        study = hpo.run("small.toml", trials=trials, workers=1)
        print(len(study.trials), study.state)


thread = threading.Thread(target=tune)
thread.start()
thread.join()
"""


def test_from_python(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import hpo

    _study(shell, trials=3, epochs=2)
    monkeypatch.chdir(shell.folder)
    study = hpo.run(Path("small.toml"), workers=1)
    assert study.best.value == study.optuna.best_value
    assert study.best.params["width"] == 32
    assert study.best.model is not None
    assert set(study.best.test) >= {"test_accuracy"}
    assert len(study.trials) == 3


@pytest.mark.parametrize("pruner", ["none", "auto"])
def test_patience_completes_trials_early(shell: Shell, pruner: str) -> None:
    text = STUDY.format(trials=4, epochs=30).replace('"val_accuracy"', '"val_loss"')
    text = text.replace('"maximize"', '"minimize"').replace("= 32\n", "= 32\npatience = 1\n")
    shell.write("small.toml", f'{text}\n[pruner]\nname = "{pruner}"\n')
    shell.hpo("run", "small.toml", "--workers", "1")
    _assert_whole(shell, 4)
    best = shell.query(
        "SELECT min(i.intermediate_value), max(v.value), max(i.step) FROM trials t"
        " JOIN trial_intermediate_values i ON i.trial_id = t.trial_id"
        " JOIN trial_values v ON v.trial_id = t.trial_id WHERE t.state = 'COMPLETE'"
        " GROUP BY t.trial_id"
    )
    assert all(lowest == pytest.approx(value) for lowest, value, _ in best)
    # One with a small learning rate may well get better until the end.
    assert min(epochs for _, _, epochs in best) < 30


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_the_value_of_a_trial_is_the_mean_over_folds(shell: Shell, engine: str) -> None:
    text = f'engine = "{engine}"\n' + STUDY.format(trials=4, epochs=3)
    shell.write("small.toml", f"{text}\n[validation]\nfolds = 3\nseeds = 2\n")
    shell.hpo("run", "small.toml", "--workers", "2")
    _assert_whole(shell, 4)
    _assert_curves_are_whole(shell, 3)
    assert re.search(r"best +0\.\d+ ± 0\.\d+ \(trial \d\)", shell.hpo("show", "small"))
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{shell.folder}/hpo.db")
    assert 0 < study.best_trial.user_attrs["spread"] < 0.2
    assert study.best_trial.user_attrs["test_accuracy"] > 0.5


def test_a_row_that_no_worker_can_read_is_named_by_the_command(shell: Shell) -> None:
    command = ("run", "digits-mlp", "--epochs", "1", "-j", "1")
    shell.hpo(*command, "--trials", "2")
    with contextlib.closing(sqlite3.connect(shell.folder / "hpo.db")) as connection, connection:
        connection.execute("UPDATE hpo_suggestion SET record = '[]'")
    output = shell.hpo(*command, "--trials", "3", expect=3)
    (line,) = (line for line in output.splitlines() if line.startswith("error: "))
    assert "table hpo_suggestion, row suggestion_id " in line
    assert "died" not in output
