"""Training loops with hpo.Run, as their user gets them from the pages."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

from tests.promises.blocks import all_blocks
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_LOOP = "docs/objectives.md#A loop that pauses"


@pytest.mark.shows(_LOOP, f"{_LOOP}/2")
def test_a_loop_pauses_and_loses_no_epoch_when_its_workers_are_killed(installed: Installed) -> None:
    blocks = all_blocks()
    installed.write("train.py", blocks[_LOOP].text)
    (command,) = blocks[f"{_LOOP}/2"].commands
    process = installed.popen(["bash", "-c", command])
    n_killed, epochs = 0, "SELECT count(*) FROM hpo_epoch"

    def kill_another() -> bool:
        nonlocal n_killed
        if n_killed < 5 and installed.query(epochs)[0][0] > 15 * (n_killed + 1):
            for (pid,) in installed.query(
                "SELECT pid FROM hpo_worker WHERE ended_at IS NULL ORDER BY worker_id LIMIT 1"
            ):
                os.kill(pid, signal.SIGKILL)
                n_killed += 1
        return process.poll() is not None

    installed.until(lambda: installed.query(epochs), "the first epoch")
    installed.until(kill_another, "the end of the run")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "30/30 trials" in output
    assert n_killed == 5
    trials = json.loads(installed.hpo("trials", "train", "-f", "json"))
    states = [trial["state"].upper() for trial in trials]
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert max(trial["value"] for trial in trials) > 0.92
    # Each epoch is there once, and many were never trained: how many depends on the kills.
    steps = installed.query(
        "SELECT trial_id, count(*), max(step) FROM trial_intermediate_values GROUP BY 1"
    )
    assert all(n == last for _, n, last in steps)
    assert sum(n for _, n, _ in steps) < 0.75 * 30 * 27


@pytest.mark.shows(_LOOP)
def test_the_same_file_runs_under_plain_optuna(installed: Installed) -> None:
    installed.write("train.py", all_blocks()[_LOOP].text.replace("n_trials=30", "n_trials=6"))
    output = installed.bash("python train.py")
    assert "Trial 5" in output


_LOADERS = "docs/loaders.md#Data sets and loaders"


@pytest.mark.shows(_LOADERS, f"{_LOADERS}/2", f"{_LOADERS}/3")
def test_a_folder_of_images_is_read_while_it_trains(installed: Installed) -> None:
    blocks = all_blocks()
    installed.write("pictures.py", blocks[_LOADERS].text)
    installed.write("pictures.toml", blocks[f"{_LOADERS}/2"].text)
    rng = np.random.default_rng(0)
    for name, channel in (("blue", 2), ("red", 0)):
        (installed.folder / "pictures" / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(0, 120, (16, 16, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(installed.folder / "pictures" / name / f"{i}.png")
    (command,) = blocks[f"{_LOADERS}/3"].commands
    assert "6/6 trials" in installed.bash(command)
    best = json.loads(installed.hpo("best", "pictures", "-f", "json"))
    assert best["value"] > 0.9
