"""Workers that are killed, stopped and cut off at random, with a seed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpo.run.worker.supervisor_pipe import WorkerOrder
from tests.kits.servers import Server

WORKER = Path(__file__).with_name("chaos_worker.py")
GRACE_S = 3.0
ENDS_WELL = ("exhausted", "interrupted")


@dataclass
class Process:
    """A worker process and what it has said."""

    popen: subprocess.Popen[bytes]
    channel: int
    killed: bool = False
    wakes_at: float | None = None

    def said(self) -> list[dict[str, Any]]:
        """Reads its messages; call it once, when the process has ended."""
        with os.fdopen(self.channel) as stream:
            return [json.loads(line) for line in stream]


@dataclass
class Chaos:
    """A study under attack.

    Attributes:
        url: Its database.
        folder: For checkpoints, spools and logs.
        disturb: What happens to the database: outages and cut connections, each for a second
            or two; returns when it is over.
    """

    url: str
    study_name: str
    folder: Path
    disturb: Callable[[random.Random], str]
    n_workers: int = 8
    processes: list[Process] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    bad_ends: list[dict[str, Any]] = field(default_factory=list)
    n_ended: int = 0

    def spawn(self) -> None:
        """Starts one more worker."""
        reading, writing = os.pipe()
        environment = {
            **os.environ,
            "HPO_GRACE_S": str(GRACE_S),
            "HPO_SPOOL": str(self.folder / "spool"),
            "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
        }
        with (self.folder / "workers.log").open("ab") as log:
            popen = subprocess.Popen(
                [sys.executable, str(WORKER), str(writing)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
                env=environment,
            )
        os.close(writing)
        order = WorkerOrder(
            url=self.url,
            study_name=self.study_name,
            artifacts=str(self.folder / "artifacts"),
            device="cpu",
            n_threads=1,
            allow=(),
            base_dir=None,
        )
        assert popen.stdin is not None
        popen.stdin.write(order.to_json().encode())
        popen.stdin.close()
        self.processes.append(Process(popen, reading))

    def run(self, seed: int, chaos_s: float, limit_s: float) -> None:
        """Attacks for a while, then lets the workers come to an end."""
        rng = random.Random(seed)
        began = time.monotonic()
        n_through = 0
        while n_through < self.n_workers:
            assert time.monotonic() - began < limit_s, f"not drained; {self.events}"
            is_chaos = time.monotonic() - began < chaos_s
            while len(self.processes) < self.n_workers - n_through:
                self.spawn()
            if is_chaos and rng.random() < 0.35:
                self.attack(rng)
            self.wake(everybody=not is_chaos)
            n_through += self.collect()
            time.sleep(0.15)

    def attack(self, rng: random.Random) -> None:
        """Does one bad thing."""
        victim = rng.choice(self.processes)
        what = rng.choices(("kill", "freeze", "disturb"), (5, 3, 1))[0]
        if what == "kill":
            victim.killed = True
            victim.popen.kill()
        elif what == "freeze" and victim.wakes_at is None:
            victim.popen.send_signal(signal.SIGSTOP)
            # Some sleep past the grace period and find their trials taken over.
            victim.wakes_at = time.monotonic() + rng.uniform(0.1, 2 * GRACE_S)
        elif what == "disturb":
            what = self.disturb(rng)
        self.events[what] += 1

    def wake(self, *, everybody: bool) -> None:
        """Lets frozen workers go on whose time has come."""
        for process in self.processes:
            if process.wakes_at is not None and (everybody or time.monotonic() > process.wakes_at):
                process.wakes_at = None
                process.popen.send_signal(signal.SIGCONT)

    def collect(self) -> int:
        """Buries the dead; returns how many workers have found nothing left to do."""
        n_through = 0
        for process in [p for p in self.processes if p.popen.poll() is not None]:
            self.processes.remove(process)
            self.n_ended += 1
            ends = [message for message in process.said() if "end" in message]
            if process.killed:
                continue
            n_through += any(message["end"] == "exhausted" for message in ends)
            if not ends or ends[-1]["end"] not in ENDS_WELL:
                self.bad_ends.append(ends[-1] if ends else {"end": process.popen.returncode})
        return n_through

    def clear(self) -> None:
        """Leaves no process behind."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.popen.kill()
            process.popen.wait()


def disturber(url: str, server: Server | None) -> Callable[[random.Random], str]:
    """Returns what can happen to a database of this kind."""

    def disturb(rng: random.Random) -> str:
        if server is None:
            return "lock" if lock(url, rng.uniform(0.5, 2.0)) else "busy"
        if rng.random() < 0.5:
            server.cut_connections()
            return "cut"
        if rng.random() < 0.5:
            server.stop(signal.SIGKILL)
        else:
            server.stop()
        time.sleep(rng.uniform(0.2, 1.5))
        server.start()
        return "restart"

    return disturb


def lock(url: str, seconds: float) -> bool:
    """Keeps an SQLite database locked for a while; False where a frozen worker does so already."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=2, isolation_level=None)
    with contextlib.closing(connection):
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            # Whoever holds it sleeps until this thread wakes it.
            return False
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    return True
