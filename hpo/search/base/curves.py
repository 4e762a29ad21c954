"""Curves: what is known of a study's trials, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class State(IntEnum):
    """Where a trial stands: Optuna's states, and RUNNING told apart from paused."""

    WAITING = 0
    RUNNING = 1
    PAUSED = 2
    COMPLETE = 3
    PRUNED = 4
    FAILED = 5


@dataclass(frozen=True)
class Curves:
    """The trials of one study, ascending by number. N trials, P parameters, E epochs.

    Attributes:
        numbers: [N]
        states: [N] Values of ``State``.
        epochs: [N] Epochs reported.
        targets: [N] Epoch to which a running trial is assigned, or a paused one was last.
        values: [N, E] The objective after each epoch, NaN where it is not known; larger is
            better, so values to be minimised stand here with the other sign.
        finals: [N] Value of a complete trial, NaN for others; larger is better.
        diverged: [N] Whether the trial's loss became NaN or infinite.
        points: [N, P] Coordinates of its params (see ``Encoder``); all NaN while it has none.
        horizon: Most epochs of one trial.
        maximize: Whether the study's own values have this sign.
    """

    numbers: Ints
    states: Ints
    epochs: Ints
    targets: Ints
    values: Floats
    finals: Floats
    diverged: Bools
    points: Floats
    horizon: int
    maximize: bool

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def next_number(self) -> int:
        """Number of the next trial."""
        return int(self.numbers[-1]) + 1 if len(self) else 0

    @property
    def n_epochs(self) -> int:
        """Epochs reported of all trials."""
        return int(self.epochs.sum())

    @property
    def is_running(self) -> Bools:
        """[N] Whether a worker trains the trial."""
        return np.asarray(self.states == State.RUNNING)

    @property
    def is_paused(self) -> Bools:
        """[N] Whether the trial waits to be resumed."""
        return np.asarray(self.states == State.PAUSED)

    @property
    def has_point(self) -> Bools:
        """[N] Whether the trial's params are drawn."""
        if not self.points.shape[1]:
            return np.ones(len(self), dtype=bool)
        return np.asarray(~np.isnan(self.points).all(axis=1))

    @cached_property
    def best(self) -> Floats:
        """[N] Best value of each trial so far, its final one included; NaN where it has none."""
        if not len(self):
            return np.zeros(0)
        every = np.concatenate([self.values, self.finals[:, None]], axis=1)
        best = np.where(np.isnan(every), -np.inf, every).max(axis=1)
        return np.where(np.isinf(best), np.nan, best)

    @cached_property
    def last(self) -> Floats:
        """[N] Last value that each trial reported; NaN where it has none."""
        last = np.full(len(self), np.nan)
        rows = np.flatnonzero(self.epochs > 0)
        last[rows] = self.values[rows, self.epochs[rows] - 1]
        return last

    def at(self, epoch: int) -> Floats:
        """Returns the values after an epoch, [N]."""
        if epoch > self.values.shape[1]:
            return np.full(len(self), np.nan)
        return self.values[:, epoch - 1]

    def rows_of(self, numbers: npt.ArrayLike) -> Ints:
        """Returns the rows of trials by their numbers, all of which are known."""
        return np.searchsorted(self.numbers, np.asarray(numbers, dtype=np.int64))

    def with_paused(self, numbers: npt.ArrayLike) -> Curves:
        """Returns the curves with these running trials as paused ones."""
        rows = self.rows_of(numbers)
        if not len(rows):
            return self
        states = self.states.copy()
        states[rows] = State.PAUSED
        return replace(self, states=states)
