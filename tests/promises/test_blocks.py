"""Every block of README and docs is shown by a test of this folder."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.promises.blocks import LANGUAGES, all_blocks

TESTS = sorted(Path(__file__).parent.glob("test_*.py"))


def shown_by(path: Path) -> set[str]:
    """Returns the names in the marks ``@pytest.mark.shows(...)`` of a module's tests."""
    module = importlib.import_module(f"tests.promises.{path.stem}")
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    marks = [mark for test in tests for mark in getattr(test, "pytestmark", [])]
    return {name for mark in marks if mark.name == "shows" for name in mark.args}


def test_every_block_is_shown() -> None:
    blocks = {name: block for name, block in all_blocks().items() if block.language in LANGUAGES}
    shown = set[str]().union(*map(shown_by, TESTS))
    assert len(blocks) > 20
    assert sorted(set(blocks) - shown) == []
    assert sorted(shown - set(blocks)) == []


def test_every_command_stands_in_a_console_block() -> None:
    assert [b.name for b in all_blocks().values() if b.language != "console" and b.commands] == []
