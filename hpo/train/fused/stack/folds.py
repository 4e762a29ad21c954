"""Folds: the data of a study's folds, in memory or from a loader."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import torch

from hpo.train.data.loading.loaded_splits import AnySplits, LoadedPart, LoadedSplits
from hpo.train.data.splits import Part, Splits

# Reading is timed once: so many samples, in batches small enough to keep all processes busy.
_N_TIMED: Final = 128
_TIMED_BATCH: Final = 16


class Folds:
    """Splits of the same kind, one for each fold.

    Args:
        splits: Of a single fold, or of each.
        device: To which they are moved.

    Attributes:
        splits: Of each fold.
        device: Where they are, or where their batches are wanted.
        begins: Where the training samples of each fold begin among those of all folds.
    """

    def __init__(self, splits: AnySplits | Sequence[AnySplits], device: torch.device) -> None:
        given = (splits,) if isinstance(splits, Splits | LoadedSplits) else tuple(splits)
        self.splits = tuple(one.to(device) for one in given)
        self.device = device
        sizes = [len(one.train) for one in self.splits]
        self.begins = tuple(sum(sizes[:i]) for i in range(len(sizes)))

    def __len__(self) -> int:
        return len(self.splits)

    def __getitem__(self, fold: int) -> AnySplits:
        return self.splits[fold]

    @property
    def is_loaded(self) -> bool:
        """Whether samples come from a loader, which reads them when they are needed."""
        return any(isinstance(one, LoadedSplits) for one in self.splits)

    def read_s(self, n: int) -> float:
        """Returns about how many seconds a loader takes for so many samples; 0 in memory."""
        return n * self._sample_s if self.is_loaded else 0.0

    @cached_property
    def _sample_s(self) -> float:
        part = self.splits[0].train
        assert isinstance(part, LoadedPart)
        # Starts the processes that read.
        part.head(1)
        n, began_at = min(_N_TIMED, len(part)), time.perf_counter()
        for _ in part.in_order(_TIMED_BATCH, n):
            pass
        return (time.perf_counter() - began_at) / n

    @cached_property
    def train(self) -> Part:
        """The training samples of all folds in memory, one fold after the other."""
        parts = [one.train for one in self.splits if isinstance(one, Splits)]
        if len(parts) == 1:
            return parts[0]
        return Part(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))
