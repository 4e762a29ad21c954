"""Logger host: starts a process for each logger of this machine, and ends it when all is logged."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hpo.run.link.log_streams import open_log
from hpo.run.loggers.logger_process import LoggerOrder

logger = logging.getLogger(__name__)
IDLE_S: Final = 30.0
"""Seconds without anything logged after which the end of a run waits for loggers no longer."""
_MOST_STARTS: Final = 3
_POLL_S: Final = 0.05


class LoggerHosts:
    """Keeps a process for each logger, so that none can harm another one, or a trial.

    Args:
        order: The study and its loggers.
        folder: Where their logs go, which have no secrets.
    """

    def __init__(self, order: LoggerOrder, folder: Path) -> None:
        self._hosts = [
            LoggerHost(replace(order, choices=(choice,)), folder / f"logger-{choice.name}.log")
            for choice in order.choices
        ]

    def start(self) -> None:
        """Starts the processes."""
        for host in self._hosts:
            host.start()

    def poll(self) -> None:
        """Passes on warnings, and starts processes in place of those that have died."""
        for host in self._hosts:
            host.poll()

    def finish(self, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Waits until all is logged, as long as something is being logged.

        Args:
            is_urgent: Returns whether to wait no longer.
        """
        for host in self._hosts:
            host.finish()
        for host in self._hosts:
            host.wait(is_urgent)

    def kill(self) -> None:
        """Ends the processes at once."""
        for host in self._hosts:
            host.kill()


class LoggerHost:
    """Keeps the process in which one logger runs.

    Whatever happens to it, nothing but a warning comes of it: what is not logged is logged by the
    next session that names the logger.

    Args:
        order: The study and its one logger.
        log: File that takes what goes wrong, without secrets.
    """

    def __init__(self, order: LoggerOrder, log: Path) -> None:
        self._order = order
        self._name = order.choices[0].name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._channel = -1
        self._unread = b""
        self._n_starts = 0
        self._active_s = time.monotonic()

    def start(self) -> None:
        """Starts the process."""
        try:
            self._start()
        except OSError as error:
            logger.warning("%s: its process cannot be started: %s", self._name, error)

    def poll(self) -> None:
        """Passes on warnings, and starts a process in place of one that has died."""
        if self._process is None:
            return
        self._listen()
        if self._process.poll() is None:
            return
        code = self._process.returncode
        self._forget()
        again = self._n_starts < _MOST_STARTS
        fate = "another one is started" if again else f"{self._log} may say why"
        logger.warning("%s: its process died (exit code %s); %s", self._name, code, fate)
        if again:
            self.start()

    def finish(self) -> None:
        """Lets the process end when all is logged; ``wait`` waits for that."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        self._active_s = time.monotonic()
        try:
            process.stdin.write(b"finish\n")
            process.stdin.flush()
        except OSError:
            logger.info("the process of a logger died before its end")

    def wait(self, is_urgent: Callable[[], bool]) -> None:
        """Waits for the process, as long as it logs something.

        Args:
            is_urgent: Returns whether to wait no longer.
        """
        process = self._process
        if process is None:
            return
        while process.poll() is None:
            self._listen()
            if is_urgent() or time.monotonic() > self._active_s + IDLE_S:
                process.kill()
                break
            time.sleep(_POLL_S)
        process.wait()
        self._listen()
        if process.returncode:
            logger.warning(
                "%s: not all is logged; the same command again logs the rest", self._name
            )
        self._forget()

    def kill(self) -> None:
        """Ends the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def _start(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._channel = reading
        self._n_starts += 1
        try:
            with os.fdopen(open_log(self._log), "ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "hpo.run.loggers.logger_process", str(writing)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=output,
                    pass_fds=[writing],
                    env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                    # Ctrl-C is for the session, which says what it means.
                    start_new_session=True,
                )
        finally:
            os.close(writing)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(self._order.to_json().encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            logger.info("the process of the loggers died at its start")

    def _listen(self) -> None:
        try:
            while chunk := os.read(self._channel, 65536):
                self._unread += chunk
        except BlockingIOError:
            pass
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            message: dict[str, Any] = json.loads(line)
            if "warning" in message:
                logger.warning("%s", message["warning"])
            if "logged" in message:
                self._active_s = time.monotonic()

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        os.close(self._channel)
        self._process, self._unread = None, b""
