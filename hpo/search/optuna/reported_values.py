"""Reported values: curves of trials for a pruner that asks often; ended trials are read once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from optuna.trial import FrozenTrial

from hpo.search.base.curves import Floats, Ints

_MOST_STEPS = 512
# Larger numbers would overflow where they are compared.
LARGEST = 1e100


class Row(NamedTuple):
    """The curve of one trial.

    Attributes:
        values: [E] NaN where nothing is known; with the study's sign.
        epoch: Of its last finite report; 0 for none.
        is_diverged: Whether its last report is no finite number.
    """

    values: Floats
    epoch: int
    is_diverged: bool


class Reports:
    """Keeps the steps and curves of trials that have ended, which do not change any more."""

    def __init__(self) -> None:
        self._ended: dict[int, FrozenTrial] = {}
        self._ended_steps: set[int] = set()
        self._rows: dict[int, Row] = {}
        self._steps: Ints = np.zeros(0, dtype=np.int64)
        self._sign = 1.0

    def steps(self, trials: Sequence[FrozenTrial]) -> Ints:
        """Returns the steps that are looked at, ascending: of very many, evenly chosen ones."""
        ended = [trial for trial in trials if trial.state.is_finished()]
        # Another study has other trials, whatever their numbers.
        if sum(self._ended.get(t.number) is t for t in ended) < len(self._ended):
            self._forget()
        for trial in ended:
            if trial.number not in self._ended:
                self._ended[trial.number] = trial
                self._ended_steps.update(trial.intermediate_values)
        going = (trial for trial in trials if not trial.state.is_finished())
        return chosen(self._ended_steps.union(*(trial.intermediate_values for trial in going)))

    def rows(self, trials: Sequence[FrozenTrial], steps: Ints, sign: float) -> list[Row]:
        """Returns the curves of trials whose ``steps`` these are.

        Args:
            trials: All trials.
            steps: Those that are looked at.
            sign: 1 where larger values are better, else -1.
        """
        if self._sign != sign or not np.array_equal(self._steps, steps):
            self._rows.clear()
            self._steps, self._sign = steps, sign
        return [self._row(trial) for trial in trials]

    def _row(self, trial: FrozenTrial) -> Row:
        known = self._rows.get(trial.number)
        if known is not None and self._ended.get(trial.number) is trial:
            return known
        row = curve(trial, self._steps, self._sign)
        if trial.state.is_finished():
            self._rows[trial.number] = row
        return row

    def _forget(self) -> None:
        self._ended.clear()
        self._ended_steps.clear()
        self._rows.clear()


def curve(trial: FrozenTrial, steps: Ints, sign: float) -> Row:
    """Returns the curve of a trial; the first of ``steps`` is epoch 1.

    A value stands until the trial's next report: trials need not report at the same steps.
    """
    values = np.full(max(1, len(steps)), np.nan)
    reports = sorted(trial.intermediate_values.items()) if len(steps) else []
    is_diverged = bool(reports) and not math.isfinite(reports[-1][1])
    reports = [(step, value) for step, value in reports if math.isfinite(value)]
    if not reports:
        return Row(values, 0, is_diverged)
    places = np.searchsorted(steps, [step for step, _ in reports])
    # Of several reports up to one step the last one counts.
    at = dict(zip(places.tolist(), (finite(sign * value) for _, value in reports), strict=True))
    begins = np.array(list(at))
    lengths = np.diff(np.append(begins, begins[-1] + 1))
    values[begins[0] : begins[-1] + 1] = np.repeat(list(at.values()), lengths)
    return Row(values, int(begins[-1]) + 1, is_diverged)


def chosen(steps: set[int]) -> Ints:
    """Returns at most 512 of the steps, evenly chosen and ascending."""
    ordered = sorted(steps)
    stride = -(-len(ordered) // _MOST_STEPS) or 1
    # The last steps of all say most.
    return np.array(ordered[::-1][::stride][::-1], dtype=np.int64)


def finite(value: float) -> float:
    """Returns a value that can be compared."""
    return min(max(value, -LARGEST), LARGEST)
