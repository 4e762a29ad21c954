"""When to write a checkpoint: often enough to lose little, seldom enough to cost little."""

from __future__ import annotations

from dataclasses import dataclass

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
