"""Keyboard: keys and signals of the terminal on which a screen is shown."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Any, Final, Self

_TERMINATING: Final = ("SIGTERM", "SIGHUP")
_SUSPENDING: Final = "SIGTSTP"
_KILLED: Final = 128
"""Shells add the number of a signal to it for the exit code of a process that it ended."""


class Keyboard:
    """Reads keys as they are pressed, without Enter, and signals that need the terminal restored.

    Within the context keys are not shown. Ctrl-C interrupts as ever; a signal that ends the
    process raises `SystemExit`, so that the screen is left first.

    Attributes:
        is_suspending: Ctrl-Z was pressed: leave the screen, then call `suspend`.
    """

    def __init__(self) -> None:
        self.is_suspending = False
        self._descriptor: int | None = None
        self._settings: list[Any] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.is_suspending = False
        for name in (*_TERMINATING, _SUSPENDING):
            if hasattr(signal, name):  # Windows has few of them.
                number = getattr(signal, name)
                self._handlers[number] = signal.signal(number, self._receive)
        if sys.stdin is not None and sys.stdin.isatty() and os.name == "posix":
            import termios
            import tty

            self._descriptor = sys.stdin.fileno()
            self._settings = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            import termios

            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._settings)
            self._descriptor = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def pressed(self, key: str, timeout_s: float) -> bool:
        """Waits for a key; returns whether it was pressed within the time.

        It also returns when the terminal is gone, and when the process is to be suspended.
        """
        end_s = time.monotonic() + timeout_s
        while not self.is_suspending and (left_s := end_s - time.monotonic()) > 0:
            if self._descriptor is None:
                time.sleep(left_s)
            elif select.select([self._descriptor], [], [], left_s)[0]:
                found = os.read(self._descriptor, 64)
                if not found or key.encode() in found.lower():
                    return True
        return False

    @staticmethod
    def suspend() -> None:
        """Suspends the process until the shell continues it."""
        os.kill(os.getpid(), signal.SIGSTOP)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if number == getattr(signal, _SUSPENDING, None):
            self.is_suspending = True
            return
        raise SystemExit(_KILLED + number)
