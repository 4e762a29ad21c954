"""Prefork pool: worker processes that are forked before their study is known.

The modules of a worker take seconds to load. `hpo run` needs most of them too, to check the study;
so it loads them once, forks the workers, and sends them their orders later. Only for CPUs: a
process that has looked at a GPU must not be forked.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.run.link.log_streams import ignore_write_errors, open_log
from hpo.run.worker.process import serve
from hpo.run.worker.supervisor_pipe import WorkerOrder
from hpo.store.db import sql_engines


class ForkedWorker:
    """A forked process, with the verbs of `subprocess.Popen` that a supervisor uses.

    Attributes:
        pid: Its id.
        channel: Pipe to read its messages from.
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
        """Ends it without work, and waits until it has ended."""
        os.close(self._orders)
        os.close(self.channel)
        os.waitpid(self.pid, 0)

    def send_order(self, order: str, log: Path, environment: Mapping[str, str]) -> None:
        """Sends an order, as `WorkerOrder.to_json` has it, and the file of its output.

        Raises:
            BrokenPipeError: It has died.
        """
        text = json.dumps({"order": order, "log": str(log), "environment": dict(environment)})
        with os.fdopen(self._orders, "w") as stream:
            stream.write(text)


_waiting: list[ForkedWorker] = []


def fill(n: int) -> None:
    """Forks workers that wait for orders; they end by themselves when this process does.

    Call it before there are threads, connections, or anything that PyTorch has computed.

    Args:
        n: How many.
    """
    _load()
    # Loaded modules stay: the workers' garbage collector need not look through them, nor touch
    # them, which would copy their memory.
    gc.freeze()
    while len(_waiting) < n:
        _waiting.append(_fork())


def drain() -> None:
    """Ends the workers that were not taken."""
    while _waiting:
        _waiting.pop().dismiss()


def take() -> ForkedWorker | None:
    """Returns a worker that waits for orders, if there is one."""
    return _waiting.pop(0) if _waiting else None


def can_fork(device: str) -> bool:
    """Returns whether workers on a device may be forked from this process.

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

    import hpo.run.worker.compose  # noqa: F401 - loaded for the children


def _fork() -> ForkedWorker:
    reading_orders, writing_orders = os.pipe()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(reading_orders)
        os.close(writing)
        return ForkedWorker(pid, writing_orders, reading)
    code = 1
    try:
        # The command line pauses garbage collection while it loads; a worker needs it.
        gc.enable()
        # Ctrl-C is for the supervisor, which passes on what it means.
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Other open files of the parent are not for its children: a reader of a pipe until its
        # last writer closes it would wait for ever.
        _close_all_but(0, 1, 2, reading_orders, writing)
        code = _serve(reading_orders, writing)
    finally:
        # Not sys.exit: exit handlers of the parent are not for its children.
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
    """Limits the threads of libraries, which were loaded before the environment named a limit.

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
        # Dismissed: the study has a mistake, or there is nothing to do.
        return 0
    message: dict[str, Any] = json.loads(text)
    os.environ.update(message["environment"])
    log = open_log(Path(message["log"]))
    for number in (1, 2):
        os.dup2(log, number)
    ignore_write_errors()

    order = WorkerOrder.from_json(message["order"])
    _limit_threads(order.n_threads)
    code = serve(order, os.fdopen(channel, "w"))
    # A forked worker ends without Python's own exit handlers.
    sql_engines.close_all()
    sys.stdout.flush()
    sys.stderr.flush()
    return code
