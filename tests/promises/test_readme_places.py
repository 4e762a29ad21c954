"""README's blocks about installing, machines and testing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import GetServer
from tests.promises.blocks import ROOT, Block
from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e


@pytest.mark.shows("README.md#Install")
def test_pip_installs_the_clone_with_its_extras(installed: Installed, block: Block) -> None:
    (command,) = block.commands
    # As written, in a clone, but for what would be fetched.
    local = "--no-deps --no-index --no-build-isolation --disable-pip-version-check --target"
    line = command.replace("pip install", f"{sys.executable} -m pip install {local} target")
    printed = installed.bash(f"ln -s {ROOT}/* . && {line}")
    assert "Successfully installed hpo-" in printed
    assert "does not provide the extra" not in printed
    assert (installed.folder / "target" / "hpo" / "_studies" / "digits_mlp.toml").exists()


@pytest.mark.shows("README.md#Several machines")
def test_machines_share_a_study(
    installed: Installed, block: Block, server_of: GetServer, request: pytest.FixtureRequest
) -> None:
    server = server_of("postgresql")
    url = server.create_database("machines")
    request.addfinalizer(lambda: server.drop_database("machines"))
    export, run, worker = (line.replace("postgresql://lab@db/hpo", url) for line in block.commands)
    # The other machine has a home of its own, and joins as soon as the study is there.
    joined = f"until hpo ls -f csv 2>/dev/null | grep -q digits; do sleep 0.2; done; {worker}"
    other = installed.popen(["bash", "-c", f"export HOME=$PWD/other; {export}; {joined}"])
    printed = installed.bash(f"{export}; {run}")
    assert "60/60 trials" in printed
    output, _ = other.communicate(timeout=60)
    assert other.returncode == 0, output
    shown = installed.bash(f"{export}; hpo show digits-mlp")
    assert "60 of 60" in shown
    assert not list(installed.folder.glob("hpo.db*"))


@pytest.mark.shows("README.md#Tests")
def test_make_test_runs_everything(block: Block) -> None:
    (command,) = block.commands
    dry = [*command.split(), "-n", f"BIN={sys.prefix}/bin"]
    done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].rstrip().endswith("-m pytest -n 2")
