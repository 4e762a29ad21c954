"""Stray processes: those that a script has started and that left its process group.

``torchrun``, for one, starts each rank in a session of its own. All of them have inherited the
script's environment, in which one variable has a value that no other script has.

The module is also a program, ``python stray_processes.py VALUE``, for the watcher of a worker that
was killed. So it imports nothing of hpo.
"""

from __future__ import annotations

import contextlib
import os
import sys

import psutil

MARK = "HPO_SOCKET"
"""The variable; its value is a path that is made anew for each start of a script."""

_MOST_ROUNDS = 20


def kill_strays(value: str) -> int:
    """Kills all processes whose environment has the mark with this value, except this one.

    Returns:
        How many were killed.
    """
    n_killed = 0
    # A process may fork while the others are killed.
    for _ in range(_MOST_ROUNDS):
        found = [process for process in psutil.process_iter() if _is_marked(process, value)]
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not found:
            break
        n_killed += len(found)
        psutil.wait_procs(found, timeout=0.1)
    return n_killed


def _is_marked(process: psutil.Process, value: str) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        # A zombie has no environment left.
        return bool(process.environ().get(MARK) == value)
    except (psutil.Error, OSError):
        return False


if __name__ == "__main__":
    kill_strays(sys.argv[1])
