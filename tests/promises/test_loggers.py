"""The page on loggers: curves in TensorBoard and runs in MLflow, with defaults."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.promises.blocks import all_blocks
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
_PAGE = "docs/loggers.md#TensorBoard, MLflow, W&B, webhooks"
_MLFLOW = "docs/loggers.md#Runs in MLflow"
_STEPS = """
import json, sys
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
events = EventMultiplexer().AddRunsFromDirectory(sys.argv[1])
events.Reload()
found = {}
for run in events.Runs():
    found[int(run[-5:])] = [event.step for event in events.Scalars(run, "val_accuracy")]
print(json.dumps(found))
"""


def reported(installed: Installed) -> dict[int, list[int]]:
    """Returns the epochs in the database, by the number of the trial."""
    rows = installed.query(
        "SELECT number, epoch FROM hpo_epoch JOIN trials USING (trial_id) ORDER BY 1, 2"
    )
    found: dict[int, list[int]] = {}
    for number, epoch in rows:
        found.setdefault(number, []).append(epoch)
    return found


def logged(installed: Installed, folder: str) -> dict[int, list[int]]:
    """Returns the epochs that TensorBoard reads, by the number of the trial."""
    installed.write("steps.py", _STEPS)
    output = installed.bash(f"python -W ignore steps.py {folder} 2>/dev/null")
    return {int(number): steps for number, steps in json.loads(output).items()}


@pytest.mark.shows(_PAGE)
def test_curves_are_in_tensorboard_and_no_epoch_is_lost_or_twice_after_kills(
    installed: Installed,
) -> None:
    command, viewer = all_blocks()[_PAGE].commands
    assert viewer == "tensorboard --logdir runs"
    process = installed.popen(["bash", "-c", command])
    epochs = "SELECT count(*) FROM hpo_epoch"
    installed.until(lambda: list(installed.folder.glob("runs/*/trial-*/events*")), "a curve")
    installed.until(lambda: installed.query(epochs)[0][0] > 10, "some epochs")
    # The session, its workers and its logger, all at once.
    os.killpg(process.pid, signal.SIGKILL)
    for (pid,) in installed.query("SELECT pid FROM hpo_worker WHERE ended_at IS NULL"):
        os.kill(pid, signal.SIGKILL)
    for pid in processes_of("hpo.run.loggers.logger_process", installed.folder):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert "8/8 trials" in installed.bash(command)
    assert logged(installed, "runs") == reported(installed)
    assert sum(map(len, reported(installed).values())) > 50


def processes_of(module: str, folder: Path) -> list[int]:
    """Returns the processes that run a module in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if module.encode() in words and (place / "cwd").readlink() == folder:
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.mark.shows(_MLFLOW, f"{_MLFLOW}/2")
def test_runs_are_in_mlflow(installed: Installed) -> None:
    blocks = all_blocks()
    command, _ = blocks[_MLFLOW].commands
    output = installed.bash(command)
    assert "logging to mlflow" in output
    assert "8/8 trials" in output
    printed = installed.python(blocks[f"{_MLFLOW}/2"].text)
    lines = [line.split() for line in printed.splitlines() if line.startswith("trial ")]
    assert len(lines) == 8
    assert {state for _, _, state, _ in lines} <= {"COMPLETE", "PRUNED"}
    best = json.loads(installed.hpo("best", "digits-mlp", "-f", "json"))
    first = next(line for line in lines if line[2] == "COMPLETE")
    assert int(first[1]) == best["number"]


@pytest.mark.shows(f"{_PAGE}/2")
def test_a_study_file_names_loggers_and_the_database_does_not(installed: Installed) -> None:
    installed.write(
        "logged.toml",
        all_blocks()[f"{_PAGE}/2"].text + 'webhook = "http://127.0.0.1:9/s3cretPath"\n',
    )
    output = installed.bash("hpo run logged.toml -j 1")
    assert "logging to tensorboard=" in output
    assert "webhook=http://127.0.0.1:9/***" in output
    assert "not all is logged" in output
    assert logged(installed, "curves") == reported(installed)
    assert (installed.folder / "mlflow.db").exists()
    kept = [path for path in installed.folder.rglob("*") if path.is_file()]
    kept.remove(installed.folder / "logged.toml")
    assert not [path for path in kept if b"s3cretPath" in path.read_bytes()]
    assert "s3cretPath" not in output
    # By its name, from the database, it has no loggers.
    assert "logging to" not in installed.bash("hpo run digits-logged --trials 5 -j 1")
