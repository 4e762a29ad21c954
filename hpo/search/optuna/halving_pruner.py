"""Halving pruner: successive halving that stops trials which are not among a rung's best."""

from __future__ import annotations

import math
from collections.abc import Mapping

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial


class HalvingPruner(BasePruner):
    """Asynchronous successive halving, on what all trials have reported.

    Optuna's notes in the database who has reached a rung when it is asked about a trial; trials
    that arrive together are then judged one after the other, each without those after it, and too
    many go on. This one reads the reports themselves: whoever arrives together is judged together.

    Source: Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, section 3.

    Args:
        lowest: Step of the first rung.
        factor: Of the trials at a rung, one in ``factor`` goes on; each rung is so many times as
            far as the one before.
    """

    def __init__(self, lowest: int, factor: int) -> None:
        self._lowest, self._factor = lowest, factor

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Returns whether to stop a trial, which has just reported."""
        rung = self._rung(trial.intermediate_values)
        if rung is None:
            return False
        sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        own = sign * _at(trial.intermediate_values, rung)
        if math.isnan(own):
            return True
        trials = study.get_trials(deepcopy=False)
        others = (t.intermediate_values for t in trials if t.number != trial.number)
        values = [sign * _at(reports, rung) for reports in others]
        better = sum(value > own for value in values)
        n_there = 1 + sum(not math.isnan(value) for value in values)
        return better >= max(1, n_there // self._factor)

    def _rung(self, reports: Mapping[int, float]) -> int | None:
        """Returns the rung that the latest report is the first to reach, if it is."""
        steps = sorted(reports)
        if not steps:
            return None
        rung = self._lowest
        while rung * self._factor <= steps[-1]:
            rung *= self._factor
        before = steps[-2] if len(steps) > 1 else 0
        return rung if before < rung <= steps[-1] else None


def _at(reports: Mapping[int, float], rung: int) -> float:
    """Returns the first value from a rung on; NaN for a trial that has not come so far."""
    if rung in reports:
        return reports[rung]
    step = min((step for step in reports if step >= rung), default=None)
    return math.nan if step is None else reports[step]
