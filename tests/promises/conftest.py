"""A user who has installed the wheel and sits in an empty folder."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hatchling.builders.wheel import WheelBuilder

from tests.e2e.conftest import LIMIT_S, Shell
from tests.promises.blocks import ROOT, Block, all_blocks

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shows(*names): the blocks of the pages that a test shows")


@dataclass
class Installed(Shell):
    """A terminal in an empty folder, where ``hpo`` is what the wheel has installed."""

    prefix: Path = Path()
    started: list[subprocess.Popen[Any]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """That of a person who has activated the virtual environment and set nothing else."""
        home = self.folder.parent / "home"
        home.mkdir(exist_ok=True)
        inherited = {k: v for k, v in super().environment.items() if not k.startswith("PYTHON")}
        path = f"{self.prefix / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**inherited, "PATH": path, "HOME": str(home), "VIRTUAL_ENV": str(self.prefix)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts ``hpo`` and returns while it runs."""
        return self.popen([str(self.prefix / "bin" / "hpo"), *arguments])

    def bash(self, command: str, expect: int = 0) -> str:
        """Runs a line as typed, and returns what it printed on both streams."""
        process = self.popen(["bash", "-c", command])
        output, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == expect, f"{command}: exit {process.returncode}:\n{output}"
        assert "Traceback" not in output, output
        return output

    def python(self, code: str) -> str:
        """Runs a script in the folder, and returns what it printed."""
        self.write("script.py", code)
        return self.bash("python script.py")

    def terminal(self, command: str, columns: int = 120) -> list[str]:
        """Runs a line in a terminal, and returns the lines that stand on it in the end."""
        primary, secondary = pty.openpty()
        environment = {**self.environment, "COLUMNS": str(columns), "TERM": "xterm"}
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            stdin=secondary,
            stdout=secondary,
            stderr=secondary,
            start_new_session=True,
        )
        self.started.append(process)
        os.close(secondary)
        printed = _everything(primary)
        assert process.wait(LIMIT_S) == 0, printed
        # A line that is drawn again begins by erasing what stood there; the last one counts.
        return [line.rpartition("\r")[2].rstrip() for line in _ESCAPES.sub("", printed).split("\n")]

    def popen(self, command: list[str]) -> subprocess.Popen[str]:
        """Starts a command with all that it starts as one group, which ends with the test."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        self.started.append(process)
        return process

    def close(self) -> None:
        """Ends what still runs, with all that it has started."""
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        super().close()


def _everything(descriptor: int) -> str:
    parts = []
    while select.select([descriptor], [], [], LIMIT_S)[0]:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux says so when the last process has closed its side.
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode(errors="replace").replace("\r\n", "\n")


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; its dependencies are those of the tests."""
    base = tmp_path_factory.getbasetemp()
    # The processes of pytest-xdist share the folder above their own, and one installation.
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / "installed"
    with FileLock(shared / "installed.lock"):
        if not (folder / "bin" / "hpo").exists():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder.parent), versions=["standard"])
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    needed = [entry for entry in sys.path if Path(entry).name == "site-packages"]
    (packages / "needed.pth").write_text("\n".join(needed))
    target = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    install = ["install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", wheel]
    done = subprocess.run([*target, *install], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where = "import hpo; print(hpo.__file__)"
    python = [str(folder / "bin" / "python"), "-c", where]
    found = subprocess.run(python, capture_output=True, text=True, check=True, cwd=folder)
    assert Path(found.stdout.strip()).is_relative_to(packages)


@pytest.fixture
def installed(tmp_path: Path, prefix: Path) -> Iterator[Installed]:
    """A terminal in an empty folder with the wheel's ``hpo``; its processes end with the test."""
    folder = tmp_path / "empty"
    folder.mkdir()
    shell = Installed(folder, prefix=prefix)
    yield shell
    shell.close()


@pytest.fixture
def block(request: pytest.FixtureRequest) -> Block:
    """The block that a test is marked to show."""
    (marker,) = request.node.iter_markers("shows")
    (name,) = marker.args
    return all_blocks()[name]
