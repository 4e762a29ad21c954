"""Processes: identified within a machine, and whether they still run."""

from __future__ import annotations

import platform
import socket
from functools import lru_cache
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_SAME_START_S = 1.5
"""Most seconds by which two readings of a process's start differ: both are rounded."""


@lru_cache(maxsize=1)
def machine() -> str:
    """Returns an identifier of the boot and the process namespace in which pids are valid.

    A host's name is not enough: containers may share one without seeing each other's processes.
    """
    parts = [socket.gethostname(), platform.machine()]
    if _BOOT_ID.is_file():
        parts.append(_BOOT_ID.read_text(encoding="ascii").strip())
    if _PID_NAMESPACE.is_symlink():
        parts.append(str(_PID_NAMESPACE.readlink()))
    return " ".join(parts)[-255:]


def started_at(pid: int) -> float | None:
    """Returns seconds from the machine's start to the process's; None when it is dead.

    Unlike the time of day, this number stays the same when the machine's clock is set.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time() - psutil.boot_time())
    except psutil.NoSuchProcess:
        return None


def is_dead(pid: int, pid_started_at: float) -> bool:
    """Returns whether the process that registered with these numbers is gone."""
    found = started_at(pid)
    return found is None or abs(found - pid_started_at) > _SAME_START_S
