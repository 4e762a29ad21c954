"""README's first study, and what the quickstart does with it: one folder, one story."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.promises.blocks import Block, all_blocks, masked
from tests.promises.conftest import Installed

# The story is a whole study, and what its readers do with it one after the other.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

N_TRIALS = 60


def flat(text: str) -> str:
    """Returns what lines say, whatever their numbers and wherever they are broken."""
    text = re.sub(r"━+", "━", text)
    text = re.sub(r"trials/(s|min)", "trials/T", text)
    return " ".join(masked(text).split())


def the_first_command(story: Installed, block: Block) -> None:
    screen = (story.folder / "screen.txt").read_text()
    first, *rest = block.shown
    assert screen.startswith(first)
    last = " ".join(screen.splitlines()[-12:])
    frame = last[last.rindex(f"{N_TRIALS}/{N_TRIALS} trials") :]
    assert flat(frame) == flat(" ".join(rest))

    best = json.loads(story.hpo("best", "digits-mlp", "-f", "json"))
    assert 0.975 <= best["value"] <= 1
    assert 0.95 <= best["test"]["test_accuracy"] <= 1
    assert sum(story.states().values()) == N_TRIALS
    assert story.states().keys() <= {"COMPLETE", "PRUNED"}
    points = "SELECT group_concat(param_value) FROM trial_params GROUP BY trial_id"
    assert len(set(story.query(points))) == N_TRIALS


def the_database_is_one_file_with_everything(story: Installed, tmp_path: Path) -> None:
    assert [path.name for path in story.folder.glob("hpo.db*")] == ["hpo.db"]
    shutil.copy(story.folder / "hpo.db", tmp_path / "elsewhere.db")
    listed = story.hpo("ls", "--storage", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert f"{N_TRIALS}/{N_TRIALS}" in listed


def the_study_shown_is_the_one_that_ran(story: Installed, block: Block) -> None:
    story.hpo("init", "--from", "digits-mlp")
    written = story.folder / "digits_mlp.toml"
    assert tomllib.loads(block.text) == tomllib.loads(written.read_text())
    assert story.hpo("check", "digits_mlp.toml").startswith("digits-mlp is valid")


def the_same_command_goes_on(story: Installed, block: Block) -> None:
    (command,) = block.commands
    assert "80/80 trials" in story.bash(command)
    assert sum(story.states().values()) == 80


def from_python(story: Installed, block: Block) -> None:
    printed = story.python(block.text)
    assert "[20 rows x" not in printed
    assert re.search(r"'learning_rate': [\d.e-]+.*\} 0\.9[789]\d*|1\.0$", printed, re.M)
    # The first three digits of the set are a zero, a one and a two.
    assert printed.splitlines()[-4:-1] == ["0    0", "1    1", "2    2"]


def the_picture_of_the_curves_is_drawn(story: Installed) -> None:
    story.hpo("plot", "curves", "digits-mlp", "-o", "curves.png")
    assert (story.folder / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.shows(
    "README.md#Try it/2",
    "README.md#A study",
    "docs/quickstart.md#Extend it, or resume it",
    "docs/quickstart.md#From Python",
)
def test_the_story_of_the_first_study(installed: Installed, tmp_path: Path) -> None:
    story, blocks = installed, all_blocks()
    (command,) = blocks["README.md#Try it/2"].commands
    story.write("screen.txt", "\n".join(story.terminal(command)))
    the_first_command(story, blocks["README.md#Try it/2"])
    the_database_is_one_file_with_everything(story, tmp_path)
    the_study_shown_is_the_one_that_ran(story, blocks["README.md#A study"])
    the_same_command_goes_on(story, blocks["docs/quickstart.md#Extend it, or resume it"])
    from_python(story, blocks["docs/quickstart.md#From Python"])
    the_picture_of_the_curves_is_drawn(story)
