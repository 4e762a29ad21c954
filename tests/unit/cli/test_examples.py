"""Each command shows examples in its help, and each of them can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hpo.cli.examples import EXAMPLES
from hpo.cli.main import COMMANDS, hpo


def commands() -> Iterator[str]:
    """Yields the commands, and those of groups as ``GROUP COMMAND``."""
    for name in COMMANDS:
        command = hpo.get_command(click.Context(hpo, info_name="hpo"), name)
        if isinstance(command, click.Group):
            yield from (f"{name} {one}" for one in command.commands)
        else:
            yield name


def test_every_command_has_an_example() -> None:
    assert [name for name in commands() if name not in EXAMPLES] == []


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.split()[0] in COMMANDS])
def test_examples_are_lines_that_the_command_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = set(commands())
    if name not in known:
        pytest.skip("of a later version")
    shown = CliRunner().invoke(hpo, [*name.split(), "--help"], prog_name="hpo").output
    for line in EXAMPLES[name]:
        assert f"\n  {line}\n" in shown
        words = shlex.split(line.partition(" > ")[0])
        assert words[: 1 + len(name.split())] == ["hpo", *name.split()]
        _parse(name.split(), words[1 + len(name.split()) :])


def _parse(path: list[str], arguments: list[str]) -> None:
    """Reads a command's arguments as click does, and runs nothing."""
    context = click.Context(hpo, info_name="hpo")
    command: click.Command | None = hpo
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(context, name)
    assert command is not None
    command.make_context(path[-1], arguments, parent=context)
