"""Backoff: when a worker that was given nothing claims again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from hpo.store.ledger.leases import StudyStatus


@dataclass(frozen=True)
class BackoffSettings:
    """Settings of ``Backoff``.

    Attributes:
        quiet_s: Seconds for which an empty claim is not repeated by a worker that trains: other
            workers need at least an epoch until there is anything new. Source: judgement, shorter
            than most epochs; not measured.
    """

    quiet_s: float = 0.5


class Backoff:
    """Remembers the last claim that brought nothing.

    Args:
        settings: How long it waits.
        clock: Returns seconds.
    """

    def __init__(
        self,
        settings: BackoffSettings = BackoffSettings(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._quiet_until_s = 0.0
        self._n_running = 0
        self._occasion: object = None

    def is_quiet(self, n_running: int) -> bool:
        """Returns whether it is too early to claim again, by the clock.

        Args:
            n_running: Trials that the worker trains on; without any it does not wait.
        """
        is_same = 0 < n_running == self._n_running
        return is_same and self._clock() < self._quiet_until_s

    def is_pointless(self, status: StudyStatus, held: Collection[int]) -> bool:
        """Returns whether the last claim was empty, and only this worker's trials changed since.

        How often a lone worker looks depends on the clock, and what it does must not.

        Args:
            status: What the study may still spend now.
            held: Ids of the worker's trials.
        """
        leases = status.leases.items()
        is_alone = all(trial_id in held for trial_id, lease in leases if lease.is_held)
        return bool(held) and is_alone and self._occasion == _occasion(status, held)

    def note_granted(self) -> None:
        """Notes a claim that has brought trials."""
        self._quiet_until_s = 0.0

    def note_empty(self, status: StudyStatus, running: Collection[int]) -> None:
        """Notes a claim that has brought nothing.

        Args:
            status: What the study might spend before it.
            running: Ids of the trials that the worker trains on.
        """
        self._quiet_until_s = self._clock() + self._settings.quiet_s
        self._n_running = len(running)
        self._occasion = _occasion(status, running)


def _occasion(status: StudyStatus, held: Collection[int]) -> object:
    return status.last_token, status.epochs, status.n_new, frozenset(held)
