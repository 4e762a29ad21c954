"""What a worker's process does with memory that it has freed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from hpo.run.worker import malloc_settings

PROGRAM = """
import resource, sys, torch
from hpo.run.worker.malloc_settings import keep_freed
if sys.argv[1] == "kept":
    assert keep_freed()
def step():
    # Together they are more than what glibc keeps for the next time by itself.
    sum([torch.ones(2**18) for _ in range(32)])
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can")


def _faults(how: str) -> int:
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", PROGRAM, how]
    output = subprocess.run(command, env=kept, capture_output=True, text=True, check=True)
    return int(output.stdout)


@pytest.mark.slow
@GLIBC
def test_what_a_step_frees_the_next_one_takes_without_asking_the_system() -> None:
    assert _faults("kept") < 0.2 * _faults("plainly")


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_whoever_has_set_it_otherwise_knows_better(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "131072")
    assert not malloc_settings.keep_freed()


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not malloc_settings.keep_freed()
