"""A database on a disk that is full for a while."""

from __future__ import annotations

import resource

import pytest

from tests.e2e.conftest import Shell
from tests.e2e.test_outage import EPOCHS, STUDY, TASK

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
# A file may not grow beyond this: SQLite's can hold nothing more, a spool can.
FULL_BYTES = 32_768


def _limit(pids: list[int], n_bytes: int) -> None:
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))


def test_a_run_tells_that_the_disk_is_full_and_goes_on_when_there_is_room(shell: Shell) -> None:
    shell.write("small.toml", STUDY)
    shell.write("slow.py", TASK)
    process = shell.start("run", "small.toml", "--workers", "2")
    assert process.stdout is not None
    shell.until(lambda: shell.query("SELECT 1 FROM hpo_epoch WHERE epoch > 2"), "some epochs")
    pids = [pid for (pid,) in shell.query("SELECT pid FROM hpo_worker")]
    _limit(pids, FULL_BYTES)
    lines: list[str] = []
    while not lines or "waiting for the database" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    assert "hpo.db cannot be written" in lines[-1]
    assert "make room on that disk" in lines[-1]
    n_before = shell.query("SELECT count(*) FROM hpo_epoch")
    _limit(pids, resource.RLIM_INFINITY)
    output, _ = process.communicate(timeout=180)

    assert process.returncode == 0, output
    assert "running again\n" in output
    assert n_before < [(3 * EPOCHS,)]
    assert shell.query("SELECT count(*) FROM hpo_worker") == [(2,)]
    for table in ("hpo_epoch", "trial_intermediate_values"):
        assert shell.query(f"SELECT count(*) FROM {table}") == [(3 * EPOCHS,)]
