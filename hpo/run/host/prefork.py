"""Worker processes that are there before their study is.

What a worker needs takes seconds to load. `hpo run` needs most of it too, to check the study; so
it loads it once, forks the workers, and tells them later what to work on. Only for CPUs: a process
that has looked at a GPU must not be forked.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class Forked:
    """A forked process, with the verbs of `subprocess.Popen` that a supervisor uses.

    Attributes:
        pid: Its id.
        channel: Where to read what it says.
        returncode: As of `Popen`; None while it runs.
    """

    def __init__(self, pid: int, orders: int, channel: int) -> None:
        self.pid, self.channel = pid, channel
        self.returncode: int | None = None
        self._orders = orders

    def poll(self) -> int | None:
        """Returns its exit code, None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def dismiss(self) -> None:
        """Lets it end without work, and waits until it has."""
        os.close(self._orders)
        os.close(self.channel)
        os.waitpid(self.pid, 0)

    def order(self, order: str, log: Path, environment: Mapping[str, str]) -> None:
        """Says what to work on, as `WorkerOrder.to_json` has it, and where its output goes.

        Raises:
            BrokenPipeError: It has died.
        """
        text = json.dumps({"order": order, "log": str(log), "environment": dict(environment)})
        with os.fdopen(self._orders, "w") as stream:
            stream.write(text)


_waiting: list[Forked] = []


def fill(n: int) -> None:
    """Forks processes that wait for orders; they end by themselves when this one does.

    Call it before there are threads, connections, or anything that PyTorch has computed.

    Args:
        n: How many.
    """
    _load()
    # What is loaded stays: the workers' search for garbage need not look through it, nor touch
    # it, which would copy its memory.
    gc.freeze()
    while len(_waiting) < n:
        _waiting.append(_fork())


def empty() -> None:
    """Sends home those that nobody has taken."""
    while _waiting:
        _waiting.pop().dismiss()


def take() -> Forked | None:
    """Returns a process that waits for orders, if there is one."""
    return _waiting.pop(0) if _waiting else None


def can_fork(device: str) -> bool:
    """Tells whether workers on a device may be forked from this process.

    Args:
        device: As the command line has it: ``auto``, ``cpu``, ``cuda``.
    """
    if not sys.platform.startswith("linux"):
        return False
    if device == "cpu":
        return True
    import torch

    return device == "auto" and torch.version.cuda is None and torch.version.hip is None


def _load() -> None:
    import optuna  # noqa: F401 - loaded for the children
    import threadpoolctl  # noqa: F401 - loaded for the children
    import torch  # noqa: F401 - loaded for the children

    import hpo.run.trials.artifact_gc
    import hpo.run.worker.fused_setup
    import hpo.run.worker.process
    import hpo.search.optuna.study_search
    import hpo.store.optuna.storage
    import hpo.tasks.code.resolve  # noqa: F401 - loaded for the children


def _fork() -> Forked:
    reading_orders, writing_orders = os.pipe()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(reading_orders)
        os.close(writing)
        return Forked(pid, writing_orders, reading)
    code = 1
    try:
        # Whoever loads quickly looks for no garbage; who works must.
        gc.enable()
        # Ctrl-C is for the supervisor, which passes on what it means.
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # What else the parent has open is not for its children: a pipe whose other end waits for
        # the last writer to close it would wait for ever.
        _close_all_but(0, 1, 2, reading_orders, writing)
        code = _serve(reading_orders, writing)
    finally:
        # Not sys.exit: what the parent has set up to happen at its end is the parent's.
        os._exit(code)


def _close_all_but(*kept: int) -> None:
    begin = 0
    for number in sorted(kept):
        # Of an empty range that begins at 0 Python makes all there are.
        if begin < number:
            os.closerange(begin, number)
        begin = number + 1
    os.closerange(begin, os.sysconf("SC_OPEN_MAX"))


def _limit_threads(n: int) -> None:
    """Gives libraries their number of threads: they were loaded before the environment told it.

    A worker of several threads on each core spends most of its time waiting for them.
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(n)
    threadpool_limits(n)


def _serve(orders: int, channel: int) -> int:
    with os.fdopen(orders) as stream:
        text = stream.read()
    if not text:
        # The study turned out to be wrong, or there is nothing to do.
        return 0
    told: dict[str, Any] = json.loads(text)
    os.environ.update(told["environment"])
    from hpo.run.link.log_streams import never_fail, open_log
    from hpo.run.worker.process import serve
    from hpo.run.worker.worker_order import WorkerOrder

    log = open_log(Path(told["log"]))
    for number in (1, 2):
        os.dup2(log, number)
    never_fail()

    order = WorkerOrder.from_json(told["order"])
    _limit_threads(order.n_threads)
    code = serve(order, os.fdopen(channel, "w"))
    sys.stdout.flush()
    sys.stderr.flush()
    return code
