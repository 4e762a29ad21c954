"""What docs/scripts.md shows of scripts that nobody has edited."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal

import pytest

from hpo.spec import toml
from hpo.spec.shell_notation import read_arguments
from tests.promises.blocks import all_blocks
from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e

PAGE = "docs/scripts.md"


def typed(name: str) -> str:
    """Returns the only command of a block, which may take several lines."""
    return all_blocks()[name].text.removeprefix("$ ").strip()


@pytest.mark.shows(
    f"{PAGE}#From the shell", f"{PAGE}#From a study file", f"{PAGE}#From a study file/2"
)
def test_a_script_is_checked_before_it_runs(installed: Installed) -> None:
    blocks = all_blocks()
    installed.write("train.py", blocks[f"{PAGE}#From the shell"].text)
    installed.write("train.toml", blocks[f"{PAGE}#From a study file"].text)
    checked = blocks[f"{PAGE}#From a study file/2"]
    printed = [line.strip() for line in installed.bash(checked.commands[0]).splitlines()]
    assert [line for line in checked.shown if line not in printed] == []
    (example,) = (line for line in printed if line.startswith("example"))
    lines = installed.bash(example.removeprefix("example").strip()).splitlines()
    assert len(lines) == 9


@pytest.mark.shows(f"{PAGE}#From the shell", f"{PAGE}#From the shell/2")
def test_a_script_is_tuned_by_the_line_as_typed_and_resumed_by_it(installed: Installed) -> None:
    installed.write("train.py", all_blocks()[f"{PAGE}#From the shell"].text)
    line = typed(f"{PAGE}#From the shell/2")
    assert "20/20 trials" in installed.bash(line)
    trials = json.loads(installed.hpo("trials", "train", "-f", "json"))
    assert [trial["number"] for trial in trials] == list(range(20))
    assert {trial["state"].upper() for trial in trials} <= {"COMPLETE", "PRUNED"}
    (folder,) = installed.folder.glob("hpo.artifacts/*/trials")
    values = []
    for trial in trials:
        if trial["state"].upper() != "COMPLETE":
            continue
        printed = (folder / f"trial-{trial['number']:06}" / "output.log").read_text()
        losses = [float(text) for text in re.findall(r"loss (\S+)", printed)]
        # The value of a trial is that of its best epoch.
        assert (len(losses), min(losses)) == (9, trial["value"])
        values.append(trial["value"])
    best = json.loads(installed.hpo("best", "train", "-f", "json"))
    # The least possible is 0.4 ** 9.
    assert best["value"] == min(values) < 0.001
    assert "the budget was already spent" in installed.bash(line)
    assert "22/22 trials" in installed.bash(line.replace("--trials 20", "--trials 22"))
    assert sum(installed.states().values()) == 22


@pytest.mark.slow
@pytest.mark.shows(f"{PAGE}#Stopping and resuming", f"{PAGE}#Stopping and resuming/2")
def test_a_script_continues_from_its_own_checkpoint(installed: Installed) -> None:
    installed.write("fit.py", all_blocks()[f"{PAGE}#Stopping and resuming"].text)
    process = installed.popen(["bash", "-c", f"exec {typed(f'{PAGE}#Stopping and resuming/2')}"])
    running = (
        "SELECT pid, trial_id FROM hpo_lease JOIN hpo_worker USING (worker_id) WHERE epoch > 0"
    )
    # A worker is killed whose script has saved and not ended.
    found: list[tuple[int, int]] = []

    def one_runs() -> bool:
        found.extend(installed.query(running))
        return bool(found)

    installed.until(one_runs, "a trial with an epoch")
    pid, killed = found[0]
    os.kill(pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    assert "6/6 trials" in output
    assert "does not resume" not in output
    assert installed.states().keys() <= {"COMPLETE", "PRUNED"}
    steps = f"SELECT count(*) FROM trial_intermediate_values WHERE trial_id = {killed}"
    assert installed.query(steps)[0][0] > 0
    logs = list(installed.folder.glob("hpo.artifacts/*/trials/*/output.log"))
    assert len(logs) == 6
    for log in logs:
        epochs = [int(n) for n in re.findall(r"^epoch (\d+)", log.read_text(), re.M)]
        assert epochs == list(range(1, len(epochs) + 1))


def test_the_line_for_the_shell_is_the_study_of_the_file() -> None:
    blocks = all_blocks()
    words = shlex.split(blocks[f"{PAGE}#From the shell/2"].text)
    written = read_arguments(words[words.index("--") + 1 :])
    spec = toml.loads(blocks[f"{PAGE}#From a study file"].text)
    assert (written.command, written.space) == (spec.command, spec.space.to_table())
    assert words[words.index("--pattern") + 1] == spec.report.pattern


@pytest.mark.slow
@pytest.mark.shows(f"{PAGE}#Stopping and resuming", f"{PAGE}#Stopping and resuming/2")
def test_a_script_that_was_interrupted_before_its_first_epoch_still_resumes(
    installed: Installed,
) -> None:
    waits = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.05)\n"
    text = all_blocks()[f"{PAGE}#Stopping and resuming"].text
    installed.write("fit.py", f"{waits}{text}")
    line = typed(f"{PAGE}#Stopping and resuming/2").replace("--trials 6", "--trials 2")
    process = installed.popen(["bash", "-c", f"exec {line}"])
    folders = "hpo.artifacts/*/trials/*/output.log"
    installed.until(lambda: list(installed.folder.glob(folders)), "a script that waits")
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate(timeout=150)[0]
    installed.write("go", "")
    output = installed.bash(line)
    assert "2/2 trials" in output
    assert "does not resume" not in output
    assert "does not resume" not in installed.hpo("show", "fit")
