"""README's first study, from the first command to a copy on a server: one folder, one story."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.conftest import GetServer
from tests.promises.blocks import ROOT, Block, all_blocks, masked
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
    assert story.hpo("check", "digits_mlp.toml").startswith("digits-mlp is right")


def the_same_command_goes_on(story: Installed, block: Block) -> None:
    (command,) = block.commands
    assert "80/80 trials" in story.bash(command)
    assert sum(story.states().values()) == 80


@pytest.mark.shows("README.md#A study/3")
def test_mistakes_are_told_at_once(installed: Installed, block: Block) -> None:
    show, run = block.commands
    n_file = block.shown.index(next(line for line in block.shown if line.startswith("error:")))
    installed.write(show.removeprefix("cat "), "\n".join(block.shown[:n_file]))
    printed = installed.bash(run, expect=2)
    assert [line.strip() for line in printed.splitlines()] == block.shown[n_file:]
    assert [path.name for path in installed.folder.iterdir()] == ["broken.toml"]


def from_python(story: Installed, block: Block) -> None:
    printed = story.python(block.text)
    assert "[20 rows x" not in printed
    assert re.search(r"'learning_rate': [\d.e-]+.*\} 0\.9[789]\d*|1\.0$", printed, re.M)
    # The first three digits of the set are a zero, a one and a two.
    assert printed.splitlines()[-4:-1] == ["0    0", "1    1", "2    2"]


def control(story: Installed, block: Block) -> None:
    update, enqueue, retry = block.commands
    assert "-> 100, hours none -> 2" in story.bash(update)
    assert "waits to start with learning_rate = 0.1, momentum = 0.9" in story.bash(enqueue)
    assert "no trial has failed for oom" in story.bash(retry)
    story.hpo("update", "digits-mlp", "--trials", "81")
    assert "81/81 trials" in story.hpo("run", "digits-mlp")
    trial = json.loads(story.hpo("trials", "digits-mlp", "-f", "json"))[80]
    assert trial["params"]["learning_rate"] == 0.1
    assert trial["params"]["momentum"] == 0.9


def moving_a_study(story: Installed, block: Block, server_of: GetServer) -> None:
    url = server_of("postgresql").create_database("moved")
    (command,) = block.commands
    printed = story.bash(command.replace("postgresql://lab@db/hpo", url))
    last, shown = (
        re.sub(r"postgresql:\S+:", "URL", s[-1]) for s in (printed.splitlines(), block.shown)
    )
    assert masked(last) == masked(shown)
    there = story.hpo("trials", "digits-mlp", "-f", "json", "--storage", url)
    assert json.loads(there) == json.loads(story.hpo("trials", "digits-mlp", "-f", "json"))


def the_picture_of_the_curves_is_drawn(story: Installed) -> None:
    story.hpo("plot", "curves", "digits-mlp", "-o", "curves.png")
    assert (story.folder / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.shows("README.md#Install/2")
def test_the_demo(installed: Installed, block: Block) -> None:
    (command,) = block.commands
    (installed.prefix / ".installed").touch()
    given = f"VENV={installed.prefix} DEMO={installed.folder / 'demo'}"
    printed = installed.bash(f"{command} -C {ROOT} {given}")
    assert f"{N_TRIALS}/{N_TRIALS} trials" in printed
    told = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    for line in told[:3]:
        assert line.startswith(("export ", str(installed.prefix)))
    assert "digits-mlp · trial" in installed.bash(f"{told[0]}; {told[1]}")


@pytest.mark.shows(
    "README.md#hpo",
    "README.md#A study",
    "README.md#A study/2",
    "README.md#From Python",
    "README.md#Control",
    "README.md#Moving studies between databases",
)
def test_the_story_of_readmes_first_study(
    installed: Installed, server_of: GetServer, tmp_path: Path
) -> None:
    story, blocks = installed, all_blocks()
    (command,) = blocks["README.md#hpo"].commands
    story.write("screen.txt", "\n".join(story.terminal(command)))
    the_first_command(story, blocks["README.md#hpo"])
    the_database_is_one_file_with_everything(story, tmp_path)
    the_study_shown_is_the_one_that_ran(story, blocks["README.md#A study"])
    the_same_command_goes_on(story, blocks["README.md#A study/2"])
    from_python(story, blocks["README.md#From Python"])
    control(story, blocks["README.md#Control"])
    moving_a_study(story, blocks["README.md#Moving studies between databases"], server_of)
    the_picture_of_the_curves_is_drawn(story)
