"""The cores and the memory of a machine, as control groups limit them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from hpo.run.host.machine import n_cores, n_memory_bytes

GIB = 2**30


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GIB))


def _root(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_without_limits_all_of_the_machine_counts(tmp_path: Path) -> None:
    assert (n_cores(tmp_path), n_memory_bytes(tmp_path)) == (16, 64 * GIB)
    unlimited = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "max 100000\n",
        "sys/fs/cgroup/memory.max": "max\n",
    }
    root = _root(tmp_path, **unlimited)
    assert (n_cores(root), n_memory_bytes(root)) == (16, 64 * GIB)


def test_the_limits_of_a_container_count(tmp_path: Path) -> None:
    limited = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "350000 100000\n",
        "sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
    }
    root = _root(tmp_path, **limited)
    assert (n_cores(root), n_memory_bytes(root)) == (3, 8 * GIB)


def test_the_lowest_limit_of_the_groups_around_a_process_counts(tmp_path: Path) -> None:
    nested = {
        "proc/self/cgroup": "0::/batch.slice/job.scope\n",
        "sys/fs/cgroup/batch.slice/cpu.max": "200000 100000\n",
        "sys/fs/cgroup/batch.slice/job.scope/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/batch.slice/job.scope/memory.max": f"{4 * GIB}\n",
    }
    root = _root(tmp_path, **nested)
    assert (n_cores(root), n_memory_bytes(root)) == (2, 4 * GIB)


def test_control_groups_of_version_1_count_under_their_name_outside(tmp_path: Path) -> None:
    old = {
        "proc/self/cgroup": "4:memory:/docker/0123\n2:cpu,cpuacct:/docker/0123\n0::/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
    }
    root = _root(tmp_path, **old)
    # Half a core is still one worker.
    assert (n_cores(root), n_memory_bytes(root)) == (1, 2 * GIB)
