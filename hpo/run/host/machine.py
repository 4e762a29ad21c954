"""Machine: the cores and the memory that this process may use; limits of containers count."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path("/")

MAX_WORKERS = 1000
"""More processes than that on one machine are a slip of the finger, and would bring it down."""


def n_cores(root: Path = ROOT) -> int:
    """Returns how many cores this process may use, by its affinity and its control group.

    Args:
        root: Folder that holds ``proc`` and ``sys``.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quotas = _limits(root, "cpu", _v2_cores, _v1_cores)
    return max(1, int(min([allowed, *quotas])))


def n_memory_bytes(root: Path = ROOT) -> int:
    """Returns the main memory that this process may use, by the machine and its control group.

    Args:
        root: Folder that holds ``proc`` and ``sys``.
    """
    import psutil

    limits = _limits(root, "memory", _v2_memory, _v1_memory)
    return int(min([psutil.virtual_memory().total, *limits]))


def _limits(
    root: Path,
    controller: str,
    of_v2: Callable[[Path], float | None],
    of_v1: Callable[[Path], float | None],
) -> list[float]:
    """Returns the limits that the control groups around this process set."""
    found = []
    for controllers, path in _groups(root):
        if controllers == "":
            limits = [of_v2(folder) for folder in _upwards(root / "sys/fs/cgroup", path)]
        elif controller in controllers.split(","):
            limits = [
                of_v1(folder) for folder in _upwards(root / "sys/fs/cgroup" / controller, path)
            ]
        else:
            continue
        found += [limit for limit in limits if limit is not None]
    return found


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    """Yields the controllers of each control group of this process, none for version 2, and it."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        yield controllers, path


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yields the folder of a control group and those around it.

    In a container the group may have its name outside, which does not exist here; the mount itself
    is then its folder.
    """
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for n in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:n])


def _v2_cores(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    return _ratio(quota, period)


def _v1_cores(folder: Path) -> float | None:
    return _ratio(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _v2_memory(folder: Path) -> float | None:
    return _ratio(_text(folder / "memory.max"), "1")


def _v1_memory(folder: Path) -> float | None:
    return _ratio(_text(folder / "memory.limit_in_bytes"), "1")


def _ratio(amount: str, unit: str) -> float | None:
    """Returns a limit; None for ``max``, for -1 and for a file that is not there."""
    if not (amount.strip().isdigit() and unit.strip().isdigit() and int(unit)):
        return None
    return int(amount) / int(unit)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError):
        return ""
