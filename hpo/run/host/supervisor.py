"""Supervisor: keeps the workers of one machine, and replaces a process that dies."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from hpo.run.host import prefork
from hpo.run.host.placement import DevicePlacement
from hpo.run.host.prefork import ForkedWorker
from hpo.run.link.log_streams import open_log
from hpo.run.worker.supervisor_pipe import WorkerOrder

logger = logging.getLogger(__name__)
MAX_DEATHS = 3  # in a row, at the start
MAX_SAME = 3  # of one error, before the first epoch
MAX_BARREN_DEATHS = 10  # in a row, without an epoch or the end of a trial in between
PATIENCE_S = 2.0  # how long a worker that was told to leave at once may take to do so

End: TypeAlias = Literal["exhausted", "interrupted", "error", "crash", "died"]


@dataclass(frozen=True)
class WorkerEnd:
    """The end of a worker's process.

    Attributes:
        end: ``exhausted`` (no trials left), ``interrupted`` (told to stop), ``error`` (it cannot
            work here: another try would not help), ``crash`` or ``died``.
        message: Why, in one line.
        exit_code: The exit code that stands for it.
        hint: What to do about it.
    """

    end: End
    message: str = ""
    exit_code: int = 0
    hint: str | None = None


@dataclass
class _Slot:
    """One place and the process that works there now."""

    index: int
    place: DevicePlacement
    log: Path
    process: subprocess.Popen[bytes] | ForkedWorker
    channel: int
    worker_id: int | None = None
    ready: bool = False
    has_begun: bool = False
    has_come_further: bool = False
    deaths: int = 0
    barren_deaths: int = 0
    same_errors: int = 0
    last_error: str = ""
    away: str = ""
    said: dict[str, Any] = field(default_factory=dict)
    unread: bytes = b""
    end: WorkerEnd | None = None


class Supervisor:
    """Starts workers, replaces those that die, and passes on what Ctrl-C means.

    Args:
        order: What the workers are told; each gets its own device.
        places: One worker is started on each.
        log_of: Gives the file that takes the output of the worker with an index.
        on_death: Called with the id of a worker whose process died, so that its trials are free
            for others at once.
    """

    def __init__(
        self,
        order: WorkerOrder,
        places: tuple[DevicePlacement, ...],
        log_of: Callable[[int], Path],
        on_death: Callable[[int], None],
    ) -> None:
        self._order = order
        self._on_death = on_death
        self._stopping = False
        self._warned: set[str] = set()
        self._slots = [self._spawn(i, place, log_of(i)) for i, place in enumerate(places)]
        # More were forked than the study's resources allow.
        prefork.drain()

    @property
    def n_alive(self) -> int:
        """The number of running workers."""
        return sum(slot.end is None for slot in self._slots)

    @property
    def ends(self) -> list[WorkerEnd]:
        """The ends of the workers that have exited."""
        return [slot.end for slot in self._slots if slot.end is not None]

    @property
    def trouble(self) -> str:
        """Why workers cannot use the database now, as the first of them says; else empty."""
        said = (slot.away for slot in self._slots if slot.end is None)
        return next(filter(None, said), "")

    def poll(self) -> None:
        """Reads what the workers say, and replaces those that have died."""
        for slot in self._slots:
            if slot.end is None:
                self._listen(slot)
                if slot.process.poll() is not None:
                    self._listen(slot)
                    self._bury(slot)

    def stop(self) -> None:
        """Asks every worker to put its trials down and leave."""
        self._stopping = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends every worker at once and waits until they are gone."""
        self._stopping = True
        self._signal(signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while self.n_alive and time.monotonic() < deadline:
            self.poll()
            time.sleep(0.02)

    def _spawn(self, index: int, place: DevicePlacement, log: Path) -> _Slot:
        order = replace(self._order, device=place.device, n_threads=place.n_threads).to_json()
        forked = prefork.take()
        try:
            if forked is not None:
                process: subprocess.Popen[bytes] | ForkedWorker = forked
                channel = forked.channel
                forked.send_order(order, log, _changes(place))
            else:
                process, channel = _start(log, place)
                assert process.stdin is not None
                process.stdin.write(order.encode())
                process.stdin.close()
        except BrokenPipeError:
            logger.warning("worker %d died at its start", index)
        return _Slot(index, place, log, process, channel)

    def _listen(self, slot: _Slot) -> None:
        try:
            while chunk := os.read(slot.channel, 65536):
                slot.unread += chunk
        except BlockingIOError:
            pass
        *lines, slot.unread = slot.unread.split(b"\n")
        for line in lines:
            message = json.loads(line)
            slot.worker_id = message.get("worker_id", slot.worker_id)
            slot.ready = slot.ready or bool(message.get("ready"))
            slot.has_begun = slot.has_begun or bool(message.get("begun"))
            is_progress = bool(message.get("ended") or message.get("reported"))
            slot.has_come_further = slot.has_come_further or is_progress
            slot.away = message.get("away", slot.away)
            self._warn(message.get("warning", ""))
            if "end" in message:
                slot.said = message

    def _warn(self, text: str) -> None:
        """Passes on what a worker wants its user to read, once for all workers."""
        if text and text not in self._warned:
            self._warned.add(text)
            logger.warning("%s", text)

    def _bury(self, slot: _Slot) -> None:
        os.close(slot.channel)
        if slot.said.get("end") in ("exhausted", "interrupted", "error"):
            slot.end = WorkerEnd(**slot.said)
            return
        is_hung = slot.said.get("end") == "hung"
        # One whose trial hangs has settled it and left in order: no machine was lost.
        if slot.worker_id is not None and not is_hung:
            self._on_death(slot.worker_id)
        if self._stopping:
            slot.end = WorkerEnd("interrupted")
            return
        why = slot.said.get("message") or _cause(slot.process.returncode or 0)
        deaths = 1 if slot.ready else slot.deaths + 1
        barren = 1 if slot.has_come_further or is_hung else slot.barren_deaths + 1
        same = _n_same(slot, why)
        tally = _tally(deaths, barren, same)
        if tally:
            message = f"worker {slot.index} {tally}: {why}"
            slot.end = WorkerEnd("died", message, 1, hint=f"its output is in {slot.log}")
            return
        fate = "was ended" if is_hung else "died"
        logger.warning("worker %d %s (%s); starting another in its place", slot.index, fate, why)
        new = self._spawn(slot.index, slot.place, slot.log)
        new.deaths, new.barren_deaths = deaths, barren
        new.same_errors, new.last_error = same, why
        self._slots[slot.index] = new

    def _signal(self, number: int) -> None:
        for slot in self._slots:
            # Poll first: a process that was waited for may have given its pid to another.
            if slot.end is None and slot.process.poll() is None:
                slot.process.send_signal(number)


def _n_same(slot: _Slot, why: str) -> int:
    """Returns how many processes in a row have died of one error before their first epoch.

    Only of errors: what kills a process without a word may be the fault of one trial, which fails
    when it has cost three.
    """
    if slot.has_begun or slot.said.get("end") != "crash":
        return 0
    return slot.same_errors + 1 if why == slot.last_error else 1


def _tally(deaths: int, barren: int, same: int) -> str:
    """Returns in words that a worker has died too often; empty while it has not."""
    if same >= MAX_SAME:
        return f"died {same} times of the same error before its first epoch"
    if deaths >= MAX_DEATHS:
        return f"died {deaths} times at its start"
    return f"died {barren} times without a new epoch" * (barren >= MAX_BARREN_DEATHS)


def _start(log: Path, place: DevicePlacement) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a process that waits for its order; returns it and the pipe that it speaks on."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(open_log(log), "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "hpo.run.worker.process", str(writing)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            env={**os.environ, **_changes(place)},
            # Ctrl-C is for the supervisor, which passes on what it means.
            start_new_session=True,
        )
    os.close(writing)
    return process, reading


def _changes(place: DevicePlacement) -> dict[str, str]:
    """Returns what is different in the environment of a worker."""
    threads = str(place.n_threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    visible = {} if place.visible is None else {"CUDA_VISIBLE_DEVICES": place.visible}
    return {**dict.fromkeys(names, threads), **visible}


def _cause(returncode: int) -> str:
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"
