"""Watchdog: the time that trials spend in code that may never return, and its limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from hpo.store.ledger.leases import Lease


class Watchdog:
    """Counts how long the trials at work have been in user code: one call, such as one epoch.

    The thread that works counts; another one may read it.

    Args:
        clock: Steady seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._leases: tuple[Lease, ...] = ()
        self._counted_s = 0.0
        self._since_s: float | None = None

    @contextmanager
    def watch(self, leases: Iterable[Lease]) -> Iterator[None]:
        """Counts from 0 while the block runs, which works on these trials."""
        with self._lock:
            self._leases, self._counted_s, self._since_s = tuple(leases), 0.0, self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._leases, self._counted_s, self._since_s = (), 0.0, None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time of the block, which waits for the database."""
        with self._lock:
            was_counting = self._since_s is not None
            self._counted_s, self._since_s = self._seconds(), None
        try:
            yield
        finally:
            with self._lock:
                if was_counting:
                    self._since_s = self._clock()

    @property
    def seconds(self) -> float:
        """Seconds that the call has taken until now; 0 while none runs."""
        with self._lock:
            return self._seconds()

    def overdue(self, limit_s: float | None) -> tuple[Lease, ...]:
        """Returns the trials at work if this call alone takes longer than a trial may."""
        with self._lock:
            is_over = limit_s is not None and self._seconds() > limit_s
            return self._leases if is_over else ()

    def _seconds(self) -> float:
        running_s = 0.0 if self._since_s is None else self._clock() - self._since_s
        return self._counted_s + running_s


def overtime(spent_s: float, epoch: int | None, limit_s: float | None) -> str:
    """Returns the message for a trial that took longer than it may; empty for one that did not.

    Args:
        spent_s: Seconds that the trial has trained.
        epoch: Epochs it has completed; None where it has none.
        limit_s: Seconds that it may train; None for any number.
    """
    if limit_s is None or spent_s <= limit_s:
        return ""
    progress = "" if epoch is None else f" for {epoch} epoch{'s' * (epoch != 1)}"
    return f"took {_shown(spent_s)}{progress}; {_allowed(limit_s)}"


def hung(spent_s: float, limit_s: float) -> str:
    """Returns the message for a trial whose code does not come back."""
    return f"its code has not come back for {_shown(spent_s)}; {_allowed(limit_s)}"


def _allowed(limit_s: float) -> str:
    return f"a trial may take {_shown(limit_s)} (trial_hours = {limit_s / 3600:g})"


def _shown(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"
