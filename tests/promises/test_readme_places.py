"""What README and docs show of installing, of testing, and of several machines."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import GetServer
from tests.promises.blocks import ROOT, Block, all_blocks, masked
from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e

_INSTALL: Final = ("README.md#Try it", "docs/quickstart.md#Install")
_MACHINES: Final = ("README.md#Several machines", "docs/databases.md#Several machines")
_URL: Final = "postgresql://lab@db/hpo"
_LONG: Final = """\
task = "digits-mlp"
budget = { trials = 1, epochs = 2000 }
space = { learning_rate = 0.01, batch_size = 256, depth = 1, width = 32 }
pruner = "none"
engine = "solo"
"""


@pytest.mark.shows(*_INSTALL)
@pytest.mark.parametrize("name", _INSTALL)
def test_pip_installs_the_clone(installed: Installed, name: str) -> None:
    (command,) = all_blocks()[name].commands
    # As written, in a clone, but for what would be fetched.
    local = "--no-deps --no-index --no-build-isolation --disable-pip-version-check --target"
    line = command.replace("pip install", f"{sys.executable} -m pip install {local} target")
    printed = installed.bash(f"ln -s {ROOT}/* . && {line}")
    assert "Successfully installed hpo-" in printed
    assert "does not provide the extra" not in printed
    assert (installed.folder / "target" / "hpo" / "_studies" / "digits_mlp.toml").exists()


@pytest.mark.shows("docs/quickstart.md#Install/2")
def test_the_demo(installed: Installed, block: Block) -> None:
    (command,) = block.commands
    (installed.prefix / ".installed").touch()
    given = f"VENV={installed.prefix} DEMO={installed.folder / 'demo'}"
    printed = installed.bash(f"{command} -C {ROOT} {given}")
    assert "60/60 trials" in printed
    told = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    for line in told[:3]:
        assert line.startswith(("export ", str(installed.prefix)))
    assert "digits-mlp · trial" in installed.bash(f"{told[0]}; {told[1]}")


def test_make_test_runs_everything() -> None:
    dry = ["make", "test", "-n", f"BIN={sys.prefix}/bin"]
    done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].rstrip().endswith("-m pytest -n 2")


@pytest.mark.shows(*_MACHINES)
def test_machines_share_a_study(
    installed: Installed, server_of: GetServer, request: pytest.FixtureRequest
) -> None:
    blocks = [all_blocks()[name] for name in _MACHINES]
    assert blocks[0].text == blocks[1].text
    server = server_of("postgresql")
    url = server.create_database("machines")
    request.addfinalizer(lambda: server.drop_database("machines"))
    export, run, worker = (line.replace(_URL, url) for line in blocks[0].commands)
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


@pytest.mark.parametrize("copied", [True, False], ids=["with its files", "without them"])
def test_a_study_moves_to_another_machine(
    copied: bool, installed: Installed, server_of: GetServer, request: pytest.FixtureRequest
) -> None:
    server = server_of("postgresql")
    url = server.create_database("moves")
    request.addfinalizer(lambda: server.drop_database("moves"))
    installed.write("long.toml", _LONG)
    old, new = installed.folder / "old", installed.folder / "new"
    on = "export HOME={} HPO_STORAGE={}; hpo "
    command = f"{on.format(old, url)}run long.toml --workers 1"
    began = installed.popen(["bash", "-c", f"{command.replace('hpo run', 'exec hpo run')}"])
    place = Path(".local/share/hpo")
    while not list((old / place).rglob("checkpoints/trial-*.pt")):
        assert began.poll() is None
        time.sleep(0.1)
    began.send_signal(signal.SIGINT)
    assert began.wait(60) == 130
    rows = f"{on.format(old, url)}trials long -f json"
    reached = _epochs(installed.bash(rows))
    assert 0 < reached < 2000
    if copied:
        shutil.copytree(old / place, new / place)
    installed.bash(f"{on.format(new, url)}update long --epochs {reached + 1}")
    printed = installed.bash(f"{on.format(new, url)}worker long --workers 1")
    assert _epochs(installed.bash(rows)) == reached + 1, printed
    (log,) = (new / place).rglob("worker-*.log")
    assert ("starts from epoch 0" in log.read_text()) is not copied


def _epochs(printed: str) -> int:
    """Returns how many epochs the only trial has, by what ``hpo trials -f json`` printed."""
    return int(json.loads(printed)[0]["n_epochs"])


@pytest.mark.shows(
    "docs/control.md#Steering a study", "docs/databases.md#Moving studies between databases"
)
def test_a_study_is_steered_and_copied(installed: Installed, server_of: GetServer) -> None:
    blocks = all_blocks()
    installed.hpo("run", "digits-mlp", "--trials", "3", "--epochs", "3")
    update, enqueue, retry = blocks["docs/control.md#Steering a study"].commands
    assert "-> 100, hours none -> 2" in installed.bash(update)
    assert "waits to start with learning_rate = 0.1, momentum = 0.9" in installed.bash(enqueue)
    assert "no failed trial for oom" in installed.bash(retry)
    installed.hpo("update", "digits-mlp", "--trials", "4")
    assert "4/4 trials" in installed.hpo("run", "digits-mlp")
    trials = json.loads(installed.hpo("trials", "digits-mlp", "-f", "json"))
    assert trials[3]["params"]["learning_rate"] == 0.1
    assert trials[3]["params"]["momentum"] == 0.9

    copying = blocks["docs/databases.md#Moving studies between databases"]
    url = server_of("postgresql").create_database("moved")
    (command,) = copying.commands
    printed = installed.bash(command.replace(_URL, url))
    last, shown = (
        re.sub(r"postgresql:\S+:", "URL", s[-1]) for s in (printed.splitlines(), copying.shown)
    )
    assert masked(last) == masked(shown)
    there = json.loads(installed.hpo("trials", "digits-mlp", "-f", "json", "--storage", url))
    assert there == trials
