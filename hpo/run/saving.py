"""When to write a checkpoint: often enough to lose little, seldom enough to cost little."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hpo.run.artifacts import Artifacts
from hpo.train.engine import Engine

LONG_EPOCH_S = 1.0
MAX_SHARE = 0.1


@dataclass(frozen=True)
class Pace:
    """How long training and saving take.

    Attributes:
        trained_s: Seconds trained since the lane was last saved.
        epoch_s: Seconds of its last epoch.
        saving_s: Seconds that a checkpoint of this study takes to write.
    """

    trained_s: float
    epoch_s: float
    saving_s: float

    @property
    def is_due(self) -> bool:
        """Whether to save now.

        After every epoch longer than `LONG_EPOCH_S`: losing one hurts more than saving it.
        After short ones as often as keeps saving at `MAX_SHARE` of training.
        """
        return self.epoch_s > LONG_EPOCH_S or self.saving_s <= MAX_SHARE * self.trained_s


class Saver:
    """Writes the checkpoints of an engine's lanes, and knows when one is due.

    Args:
        engine: Trains the lanes.
        artifacts: Where their files are.
    """

    def __init__(self, engine: Engine, artifacts: Artifacts) -> None:
        self._engine = engine
        self._artifacts = artifacts
        self._unsaved_s: dict[int, float] = {}
        self._saving_s = 0.0

    def is_due(self, key: int, epoch_s: float) -> bool:
        """Tells whether a lane should be saved that has trained for one more epoch.

        Args:
            key: The lane.
            epoch_s: Its share of the seconds that the epoch took.
        """
        trained_s = self._unsaved_s.get(key, 0.0) + epoch_s
        self._unsaved_s[key] = trained_s
        return Pace(trained_s, epoch_s, self._saving_s).is_due

    def save(self, key: int, number: int) -> None:
        """Writes the checkpoint of a lane; its epochs must have been reported.

        Args:
            key: The lane.
            number: Its trial's.
        """
        began_s = time.perf_counter()
        path = self._artifacts.checkpoint(number)
        self._engine.save(key, path)
        self._artifacts.share(path)
        self._saving_s = time.perf_counter() - began_s
        self._unsaved_s[key] = 0.0

    def forget(self, key: int) -> None:
        """Forgets a lane that is no longer trained here."""
        self._unsaved_s.pop(key, None)
