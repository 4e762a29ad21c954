"""Script process: a command that runs in a process group of its own, which dies with its worker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hpo.run.scripts import stray_processes
from hpo.run.scripts.stray_processes import MARK, kill_strays

# The command begins once its watcher knows of it: if the worker dies before, neither runs.
_GATE: Final = 'read go || exit 1; exec "$@" </dev/null'
# Reads the group, then waits for the end of its pipe: a line says that the script is gone, and the
# end of the file that the worker is. The folder holds the socket.
_WATCHER: Final = """
trap '' HUP INT TERM
read group || exit 0
read done && exit 0
kill -s KILL -- "-$group" 2>/dev/null
rm -rf "$3"
exec "$1" -I "$2" "$4"
"""


class ScriptProcess:
    """A running command.

    The command is started without a shell of its own, in a new session. A watcher process kills
    what is left of it if this process dies, even by SIGKILL.

    Args:
        args: The program and its arguments.
        folder: Where it runs.
        environment: All of its environment; ``HPO_SOCKET`` is unique to it.
        output: File to which it writes what it prints, after what is there.

    Raises:
        OSError: No process can be started, or the output cannot be written.
    """

    def __init__(
        self, args: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path
    ) -> None:
        self._mark = environment[MARK]
        self.pid: int = 0
        self._watcher = subprocess.Popen(
            [
                *("/bin/sh", "-c", _WATCHER, "sh", sys.executable, stray_processes.__file__),
                *(str(Path(self._mark).parent), self._mark),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        try:
            with output.open("ab") as log:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _GATE, "sh", *args],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=dict(environment),
                    start_new_session=True,
                )
        except BaseException:
            self._release_watcher()
            raise
        self.pid = self._process.pid
        assert self._watcher.stdin is not None
        assert self._process.stdin is not None
        _write(self._watcher.stdin.fileno(), f"{self.pid}\n".encode())
        _write(self._process.stdin.fileno(), b"go\n")
        self._process.stdin.close()

    def poll(self) -> int | None:
        """Returns the exit code, negative for a signal; None while the command runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Asks all processes of the command to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends all processes of the command, and waits for the first of them."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Ends what the command has left running, and the watcher; may be called again."""
        if self._watcher.returncode is not None:
            return
        self.kill()
        kill_strays(self._mark)
        self._release_watcher()

    def _signal(self, number: int) -> None:
        # The group outlives its first process if others are left in it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _release_watcher(self) -> None:
        assert self._watcher.stdin is not None
        # The watcher reads two lines.
        _write(self._watcher.stdin.fileno(), b"0\n0\n" if not self.pid else b"0\n")
        self._watcher.stdin.close()
        self._watcher.wait()


def _write(descriptor: int, line: bytes) -> None:
    # Whoever reads it may have been killed.
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, line)
