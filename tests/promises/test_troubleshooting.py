"""The page on troubleshooting: `hpo doctor`, on a study that has been run."""

from __future__ import annotations

import pytest

from tests.promises.blocks import Block
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.mark.shows("docs/troubleshooting.md#The doctor")
def test_the_doctor_finds_all_well_after_a_study(installed: Installed, block: Block) -> None:
    installed.hpo("run", "digits-mlp", "--trials", "2", "-j", "1")
    (command,) = block.commands
    lines = installed.bash(command).splitlines()
    *shown, last = block.shown
    assert last == "0 failed, 0 warnings, 12 ok"
    names = [line.split()[0] for line in shown]
    assert [line.split()[0] for line in lines if not line.strip().startswith("→")][:-1] == names
    found = {line.split()[0]: line.split()[1] for line in lines if line.split()[0] in names}
    # What the machine has too little of is no fault of the database.
    assert {found[name] for name in names[:8]} == {"ok"}
    for name in ("schema", "rights", "locks", "clock", "workers", "shared"):
        line = next(line for line in shown if line.startswith(name))
        assert line.split("(")[0] in " ".join(lines)
