"""A disk of checkpoints and models that is full, or read-only, for a while."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Shell
from tests.e2e.test_outage import TASK

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
N_TRIALS, EPOCHS = 24, 6

STUDY = f"""
name = "small"
task = "slow.py:Slow"
engine = "{{engine}}"
metric = "val_accuracy"
direction = "maximize"

[budget]
trials = {N_TRIALS}
epochs = {EPOCHS}

[space]
learning_rate = {{{{ low = 1e-3, high = 0.3, log = true }}}}

[sampler]
name = "random"

[pruner]
name = "none"
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk; whoever may not mount one cannot run these tests."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(disk: Path) -> Path:
    stuffing = disk / "stuffing"
    command = ["dd", "if=/dev/zero", f"of={stuffing}", "bs=1024"]
    assert "No space left" in subprocess.run(command, capture_output=True, text=True).stderr
    return stuffing


@pytest.mark.parametrize("engine", ["solo", "auto"])
def test_trials_on_a_full_disk_all_come_out_right_once_there_is_room(
    shell: Shell, disk: Path, engine: str
) -> None:
    shell.write("small.toml", STUDY.format(engine=engine))
    shell.write("slow.py", TASK.replace("time.sleep(0.1)", "time.sleep(0.02)"))
    process = shell.start("run", "small.toml", "--workers", "2", "--artifacts", "disk")
    assert process.stdout is not None
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch WHERE epoch > 1"), "some epochs")
    stuffing = _fill(disk)
    lines: list[str] = []
    while not lines or "cannot be written" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    assert lines[-1].startswith(f"warning: {disk}/small")
    assert "(No space left on device)" in lines[-1]
    # Both workers come to a model that has no room.
    waits = "SELECT count(*) FROM trials WHERE state = 'RUNNING'"
    shell.until(lambda: shell.query(waits)[0][0] > 0, "a trial that waits")
    stuffing.unlink()
    output, _ = process.communicate(timeout=300)

    assert process.returncode == 0, output
    assert "died" not in output
    assert shell.states() == {"COMPLETE": N_TRIALS}
    assert shell.query("SELECT count(*), max(attempt) FROM hpo_epoch") == [(N_TRIALS * EPOCHS, 1)]
    assert shell.query("SELECT count(*) FROM hpo_worker") == [(2,)]
    (event,) = {m for (m,) in shell.query("SELECT message FROM hpo_event WHERE kind = 'artifacts'")}
    assert "No space left on device" in event
    # And the best one has its model.
    best = shell.query(
        "SELECT number FROM trials JOIN trial_values USING (trial_id) ORDER BY value DESC, 1"
    )[0][0]
    assert list(disk.glob(f"small*/models/trial-{best:06}.pt"))


def test_a_disk_that_becomes_read_only_costs_no_attempt(shell: Shell, disk: Path) -> None:
    shell.write("small.toml", STUDY.format(engine="solo").replace("trials = 24", "trials = 4"))
    shell.write("slow.py", TASK.replace("time.sleep(0.1)", "time.sleep(0.02)"))
    process = shell.start("run", "small.toml", "--workers", "1", "--artifacts", "disk")
    assert process.stdout is not None
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch WHERE epoch > 1"), "some epochs")
    over = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(disk)]
    subprocess.run(over, check=True)
    lines: list[str] = []
    while not lines or "cannot be written" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    assert "(Read-only file system)" in lines[-1]
    subprocess.run(["umount", "-l", str(disk)], check=True)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert shell.states() == {"COMPLETE": 4}
    assert shell.query("SELECT max(attempt) FROM hpo_epoch") == [(1,)]
