"""The rank that failed first, in what torchrun prints at its end."""

from __future__ import annotations

import signal
from pathlib import Path

from hpo.run.scripts.failed_ranks import failed_rank
from hpo.run.scripts.script_exit import failure_of

REPORT = """\
[rank1]: Traceback (most recent call last):
[rank1]: ValueError: a bad batch
[rank0]: RuntimeError: Connection closed by peer
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 8755)  (SIGTERM)
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-28_03:47:33
  host      : localhost
  rank      : 1 (local_rank: 1)
  exitcode  : CODE (pid: 8756)
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""


def _failure(folder: Path, code: int) -> tuple[str, str]:
    output = folder / "output.log"
    output.write_text(REPORT.replace("CODE", str(code)))
    reason, message = failure_of(1, output)
    return reason, message.splitlines()[-1]


def test_the_first_failed_rank_is_the_cause(tmp_path: Path) -> None:
    assert _failure(tmp_path, 1) == (
        "user_code",
        "rank 1 ended with exit code 1: ValueError: a bad batch",
    )


def test_a_rank_that_the_system_killed_was_out_of_memory(tmp_path: Path) -> None:
    reason, message = _failure(tmp_path, -signal.SIGKILL)
    assert reason == "oom"
    assert message.startswith("rank 1 was killed by SIGKILL")


def test_other_output_has_no_failed_rank() -> None:
    assert failed_rank(["ValueError: a bad batch"]) is None
    assert failed_rank(["Root Cause (first observed failure):", "[0]:"]) is None
