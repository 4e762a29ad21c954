"""Workers that are forked before their study is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CLI = [sys.executable, "-m", "hpo"]

FILL = """
import os, sys
from hpo.run.host import prefork

reading, writing = os.pipe()
prefork.fill(1)
child = prefork.take()
assert child is not None
os.close(writing)
# The end of the pipe: the child has closed what is not its own.
assert os.read(reading, 1) == b""
# It keeps the streams that it was born with, and waits for orders.
assert os.readlink(f"/proc/{child.pid}/fd/1") == os.readlink("/proc/self/fd/1")
assert child.poll() is None
child.dismiss()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forks workers")
def test_a_forked_worker_waits_for_orders_and_goes_home_without() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


THREADS = """
import torch
from threadpoolctl import threadpool_info


def objective(trial):
    trial.suggest_float("x", 0, 1)
    return max(torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forks workers")
def test_the_libraries_of_a_forked_worker_have_one_thread(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(THREADS)
    run = [*CLI, "run", "--objective", "t.py:objective", "--trials", "2", "-j", "2"]
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    options: dict[str, Any] = {"cwd": tmp_path, "env": free, "capture_output": True, "text": True}
    subprocess.run([*run, "--device", "cpu"], **options, timeout=120, check=True)
    trials = [*CLI, "trials", "t", "-f", "json"]
    found = subprocess.run(trials, **options, timeout=60, check=True).stdout
    assert [trial["value"] for trial in json.loads(found)] == [1.0, 1.0]
