"""Processes of a command: they end with it, and with its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hpo.run.scripts.script_process import ScriptProcess

pytestmark = pytest.mark.integration

# Its children ignore SIGTERM; one leaves the process group, as the ranks of torchrun do.
TREE = """
import os, signal, subprocess, sys, time
ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
exec(ignore)
child = [sys.executable, "-c", ignore + "print(1, flush=True); time.sleep(600)"]
pipe = subprocess.PIPE
made = [subprocess.Popen(child, stdout=pipe, start_new_session=own) for own in (False, True)]
for process in made:
    process.stdout.read(1)
open("pids", "w").write(" ".join(str(pid) for pid in (os.getpid(), *(p.pid for p in made))) + "\\n")
time.sleep(600 if len(sys.argv) < 2 else 0)
"""
WORKER = """
import os, sys, time
from pathlib import Path
from hpo.run.scripts.script_process import ScriptProcess
here = Path(sys.argv[1])
environment = {**os.environ, "HPO_SOCKET": str(here / "own" / "socket")}
ScriptProcess([sys.executable, "tree.py"], here, environment, here / "output.log")
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tree.py").write_text(TREE)
    (tmp_path / "own").mkdir()
    return tmp_path


def start(folder: Path, *args: str) -> ScriptProcess:
    environment = {**os.environ, "HPO_SOCKET": str(folder / "own" / "socket")}
    return ScriptProcess(args, folder, environment, folder / "output.log")


def pids(folder: Path) -> list[int]:
    path = folder / "pids"
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return [int(pid) for pid in path.read_text().split()]


def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ended(process: ScriptProcess) -> int:
    until(lambda: process.poll() is not None)
    code = process.poll()
    assert code is not None
    return code


def test_a_command_has_no_input_and_its_output_is_kept(folder: Path) -> None:
    (folder / "output.log").write_text("before\n")
    process = start(folder, "/bin/sh", "-c", 'cat; echo "$0"; pwd >&2; exit 3', "a 'word' $HOME")
    assert ended(process) == 3
    process.close()
    assert (folder / "output.log").read_text() == f"before\na 'word' $HOME\n{folder}\n"


def test_all_processes_end_when_the_command_is_killed(folder: Path) -> None:
    process = start(folder, sys.executable, "tree.py")
    found = pids(folder)
    process.terminate()
    assert all(map(is_alive, found))
    process.kill()
    process.close()
    assert process.poll() == -signal.SIGKILL
    until(lambda: not any(map(is_alive, found)))


def test_what_a_command_leaves_behind_ends_with_it(folder: Path) -> None:
    process = start(folder, sys.executable, "tree.py", "leave")
    found = pids(folder)
    assert ended(process) == 0
    process.close()
    until(lambda: not any(map(is_alive, found)))


def test_all_processes_end_when_the_worker_is_killed(folder: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(folder)])
    found = pids(folder)
    worker.kill()
    worker.wait()
    until(lambda: not any(map(is_alive, found)))
    until(lambda: not (folder / "own").exists())


def test_a_signal_is_an_exit_code(folder: Path) -> None:
    process = start(folder, "/bin/sh", "-c", "kill -s SEGV $$")
    assert ended(process) == -signal.SIGSEGV
    process.close()


def test_a_folder_that_is_missing_leaves_no_process(folder: Path) -> None:
    before = set(psutil.Process().children())
    with pytest.raises(FileNotFoundError):
        ScriptProcess(
            ["/bin/true"], folder / "none", {"HPO_SOCKET": "/none/x"}, folder / "output.log"
        )
    assert set(psutil.Process().children()) == before
