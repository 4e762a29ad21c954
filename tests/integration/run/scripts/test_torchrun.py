"""Scripts that torchrun starts with two ranks: reports, stops, errors, and what dies with them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hpo.run.scripts.report_socket import ReportSocket
from hpo.run.scripts.script_exit import failure_of
from hpo.run.scripts.script_process import ScriptProcess
from hpo.run.scripts.stray_processes import MARK

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[4] / "examples" / "ddp_script.py"
LIMIT_S = 120.0
FAILING = """
import os
import sys
import time
import torch.distributed as dist
import hpo

dist.init_process_group("gloo")
rank = dist.get_rank()
if rank == 1:
    with open(os.environ["HPO_TRIAL_DIR"] + "/pid", "w") as file:
        file.write(str(os.getpid()))
hpo.report(val_accuracy=0.5)
if rank == 1 and sys.argv[1] == "raise":
    raise ValueError("a bad batch on rank 1")
# The first rank waits here for one that never comes.
dist.barrier() if rank == 0 else time.sleep(3600)
"""


class Trial:
    """The folder of a trial whose script runs, and what its worker would answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = ReportSocket(lambda number: number)

    @contextlib.contextmanager
    def script(self, *args: str, reported: int = 0) -> Iterator[ScriptProcess]:
        """Starts two ranks of a script."""
        environment = {
            **os.environ,
            "HPO_TRIAL_DIR": str(self.folder),
            "HPO_METRIC": "val_accuracy",
            "HPO_DIRECTION": "maximize",
            "HPO_REPORTED": str(reported),
            MARK: str(self.socket.path),
        }
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command = [*torchrun, "--nproc-per-node", "2", *args]
        process = ScriptProcess(command, self.folder, environment, self.folder / "output.log")
        try:
            yield process
        finally:
            process.close()
            self.socket.close()

    @property
    def output(self) -> str:
        return (self.folder / "output.log").read_text()

    @property
    def epochs(self) -> list[int]:
        """The epochs that were reported, in the order of their lines."""
        file = self.folder / "metrics.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line)["epoch"] for line in lines]

    def serve(self, process: ScriptProcess, *, epochs: int, stop_at: int) -> int:
        """Answers until the script has ended; returns its exit code."""
        ends_at = time.monotonic() + LIMIT_S
        while (code := process.poll()) is None:
            assert time.monotonic() < ends_at, self.output
            self.socket.wait(0.05)
            self.socket.grant(epochs)
            last = max(self.epochs, default=0)
            self.socket.answer(last, stop=last >= stop_at, save=False)
        return code


def test_a_stop_reaches_both_ranks_and_both_resume(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    with trial.script(str(EXAMPLE), "--lr", "0.1") as process:
        assert trial.serve(process, epochs=9, stop_at=3) == 0, trial.output
    # Only the first rank has reported.
    assert trial.epochs == [1, 2, 3]

    again = Trial(tmp_path)
    with again.script(str(EXAMPLE), "--lr", "0.1", reported=3) as process:
        assert again.serve(process, epochs=5, stop_at=99) == 0, again.output
    assert again.epochs == [1, 2, 3, 4, 5]
    # The line of the end, by the first rank alone.
    assert again.output.count("val_accuracy") == 1


@pytest.mark.parametrize("way", ["raise", "hang"])
def test_an_error_or_a_kill_leaves_no_rank_behind(tmp_path: Path, way: str) -> None:
    (tmp_path / "train.py").write_text(FAILING)
    trial = Trial(tmp_path)
    with trial.script("train.py", way) as process:
        if way == "raise":
            # The other rank is ended by torchrun, though it waits for this one.
            code = trial.serve(process, epochs=9, stop_at=99)
            assert code == 1
            assert "a bad batch on rank 1" in trial.output
            failure = failure_of(code, tmp_path / "output.log")
            assert failure.reason == "user_code"
            assert failure.message.splitlines()[-1] == (
                "rank 1 ended with exit code 1: ValueError: a bad batch on rank 1"
            )
        else:
            pid_file, ends_at = tmp_path / "pid", time.monotonic() + LIMIT_S
            while not (pid_file.exists() and pid_file.read_text()):
                assert time.monotonic() < ends_at, trial.output
                time.sleep(0.05)
    with contextlib.suppress(psutil.NoSuchProcess):
        # It was killed; its parent may not have noticed yet.
        psutil.Process(int((tmp_path / "pid").read_text())).wait(timeout=10)
