"""The hooks of `.pre-commit-config.yaml` are those of `make lint`, and run without a network."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
HOOKS: dict[str, dict[str, Any]] = {
    hook["id"]: hook for repo in CONFIG["repos"] for hook in repo["hooks"]
}


def command(hook: str) -> list[str]:
    """Returns the command of a hook, with the tools of the environment that runs the tests."""
    tool, *options = shlex.split(HOOKS[hook]["entry"])
    assert Path(tool).parent == Path(".venv/bin")
    return [str(BIN / Path(tool).name), *options]


def test_no_hook_is_fetched() -> None:
    assert [repo["repo"] for repo in CONFIG["repos"]] == ["local"]
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_what_pre_commit_needs_and_a_command_that_exists(hook: str) -> None:
    assert {"id", "name", "entry", "language"} <= HOOKS[hook].keys()
    tool = command(hook)[0]
    done = subprocess.run([tool, "--help"], capture_output=True, check=False)
    assert done.returncode == 0


def test_hooks_are_the_linters_of_make() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe
    linters = re.findall(r"\$\(BIN\)/(.*)", recipe[1])
    # make looks at all files, and changes none.
    named = {re.sub(r" (--check )?\.$", "", linter) for linter in linters}
    entries = {hook["entry"].removeprefix(".venv/bin/") for hook in HOOKS.values()}
    assert named == {entry.removesuffix(" --force-exclude") for entry in entries}


def test_hooks_of_ruff_find_what_is_wrong_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text('"""A module."""\n\nimport os\n\nx = 1  +  1\n')
    checked = subprocess.run([*command("ruff-check"), path], capture_output=True, check=False)
    assert checked.returncode == 1
    assert b"F401" in checked.stdout
    subprocess.run([*command("ruff-format"), path], capture_output=True, check=True)
    assert path.read_text().endswith("\nx = 1 + 1\n")
