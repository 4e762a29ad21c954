"""Workers that are forked before their study is known."""

from __future__ import annotations

import subprocess
import sys

import pytest

FILL = """
import os, sys
from hpo.run import nursery

reading, writing = os.pipe()
nursery.fill(1)
child = nursery.take()
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
