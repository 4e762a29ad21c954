"""What docs/scripts.md shows of scripts that nobody has edited."""

from __future__ import annotations

import shlex

import pytest

from hpo.spec import toml
from hpo.spec.shell_notation import read_arguments
from tests.promises.blocks import all_blocks
from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e

PAGE = "docs/scripts.md"


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


def test_the_line_for_the_shell_is_the_study_of_the_file() -> None:
    blocks = all_blocks()
    words = shlex.split(blocks[f"{PAGE}#From the shell/2"].text)
    written = read_arguments(words[words.index("--") + 1 :])
    spec = toml.loads(blocks[f"{PAGE}#From a study file"].text)
    assert (written.command, written.space) == (spec.command, spec.space.to_table())
    assert words[words.index("--pattern") + 1] == spec.report.pattern
