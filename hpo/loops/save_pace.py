"""Save pace: how often a loop saves, by what saving and training cost."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class SavePaceSettings:
    """Settings of how often trials are saved, those of tasks and of loops.

    Attributes:
        long_epoch_s: After an epoch longer than this, losing it hurts more than saving it.
        max_share: Saving takes at most this share of the time of training.
    """

    long_epoch_s: float = 1.0
    max_share: float = 0.1

    def is_due(self, epoch_s: float, trained_s: float, saving_s: float) -> bool:
        """Returns whether to save now.

        Args:
            epoch_s: Seconds of the last epoch.
            trained_s: Seconds trained since the last checkpoint.
            saving_s: Seconds that a checkpoint takes to write.
        """
        return epoch_s > self.long_epoch_s or saving_s <= self.max_share * trained_s


class SavePace:
    """Decides when a loop saves.

    Args:
        settings: How often.
    """

    def __init__(self, settings: SavePaceSettings = SavePaceSettings()) -> None:
        self._settings = settings
        self._since_s = time.monotonic()
        self._trained_s = 0.0
        self._saving_s = 0.0

    def note_epoch(self) -> float:
        """Notes that an epoch is complete; returns its seconds."""
        now = time.monotonic()
        epoch_s, self._since_s = now - self._since_s, now
        self._trained_s += epoch_s
        return epoch_s

    def is_due(self, epoch_s: float) -> bool:
        """Returns whether to save after an epoch that took so many seconds."""
        return self._settings.is_due(epoch_s, self._trained_s, self._saving_s)

    def note_saved(self, seconds: float) -> None:
        """Notes that a checkpoint was written, and how long that took."""
        self._saving_s, self._trained_s = seconds, 0.0
        self._since_s = time.monotonic()
