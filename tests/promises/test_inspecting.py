"""docs/inspecting.md: why a trial failed, found with what the page says."""

from __future__ import annotations

import pytest

from tests.promises.blocks import Block, masked
from tests.promises.conftest import Installed

TRAIN = """\
def attention(features, heads):
    print("building", heads, "heads")
    if features % heads:
        # The user's mistake, in a function that the objective calls.
        raise ValueError(f"{features} features cannot be split among {heads} heads")


def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    attention(96, 5 if trial.number == 17 else 4)
    return x
"""


@pytest.mark.shows("docs/inspecting.md#Why did trial 17 fail?")
def test_why_trial_17_failed(installed: Installed, block: Block) -> None:
    installed.write("train.py", TRAIN)
    objective = ("--objective", "train.py:objective", "--name", "churn")
    installed.hpo("run", *objective, "--trials", "20", "-j", "2")
    for command, shown in _answers(block).items():
        printed = installed.terminal(command)
        lines = [masked(line.strip()) for line in printed]
        for line in shown:
            wanted = masked(line.replace('"train.py"', f'"{installed.folder}/train.py"'))
            assert wanted in lines, (command, line, printed)
    # The way to it begins at the help.
    assert "hpo show churn --trial 17" in installed.hpo("show", "--help")
    assert "1 failed" in installed.hpo("show", "churn")


def _answers(block: Block) -> dict[str, list[str]]:
    """Returns what the block shows below each of its commands."""
    found: dict[str, list[str]] = {}
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found[line[2:]] = shown = []
        else:
            shown.append(line.strip())
    assert len(found) == 3
    return found
