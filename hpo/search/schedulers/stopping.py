"""Schedulers that only stop: Optuna's pruners by name, for all lanes in one pass.

Each takes the options of Optuna's pruner of its name and decides as it does; an epoch is a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from hpo.search.base.curves import Bools, Curves, Floats, Ints, State
from hpo.search.base.decisions import Ask, Decision, Plan, Start
from hpo.search.base.proposers import Proposal, Proposer
from hpo.search.base.trial_status import is_over

Rule: TypeAlias = Callable[[Curves, Ints, Mapping[str, Any]], Bools]
"""Tells which of the trials, by their rows, should stop: [K]."""


class Stopping:
    """Trains every trial to the end, unless a rule stops it.

    Args:
        name: One of ``RULES``.
        options: The rule's.
        proposer: Where new points come from.
    """

    version = "1"
    pauses = False

    def __init__(self, name: str, options: Mapping[str, Any], proposer: Proposer) -> None:
        self.name = name
        self._options = options
        self._rule = RULES[name]
        self._proposer = proposer

    def plan(self, curves: Curves, ask: Ask) -> Plan:
        """Returns new trials for all free places that the budget allows."""
        n = ask.n if ask.n_new is None else min(ask.n, ask.n_new)
        numbers = list(range(curves.next_number, curves.next_number + n))
        points, memory = self._proposer.propose(curves, numbers, ask)
        starts = tuple(
            Start(number, point, curves.horizon, {"by": self._proposer.name})
            for number, point in zip(numbers, points, strict=False)
        )
        note = {"method": self.name, "version": self.version}
        return Plan(starts, not starts and is_over(curves), note, memory)

    def propose(self, curves: Curves, numbers: Sequence[int], ask: Ask) -> Proposal:
        """Returns params for new trials that got these numbers."""
        return self._proposer.propose(curves, numbers, ask)

    def judge(self, curves: Curves, numbers: Sequence[int]) -> list[Decision]:
        """Returns what becomes of running trials after an epoch."""
        rows = curves.rows_of(numbers)
        verdicts = np.full(len(rows), Decision.GO_ON, dtype=np.int64)
        begun = curves.epochs[rows] > 0
        verdicts[begun & self._rule(curves, rows, self._options)] = Decision.STOP
        verdicts[curves.epochs[rows] >= curves.horizon] = Decision.COMPLETE
        verdicts[curves.diverged[rows]] = Decision.STOP
        return [Decision(verdict) for verdict in verdicts.tolist()]


def _never(curves: Curves, rows: Ints, options: Mapping[str, Any]) -> Bools:
    return np.zeros(len(rows), dtype=bool)


def _percentile(curves: Curves, rows: Ints, options: Mapping[str, Any]) -> Bools:
    """Stops trials whose best value is below a percentile of the complete ones' at that epoch."""
    done = curves.values[curves.states == State.COMPLETE]
    epochs = curves.epochs[rows]
    stop = np.zeros(len(rows), dtype=bool)
    if not len(done) or len(done) < options.get("n_startup_trials", 5):
        return stop
    best = _running_best(curves, rows)
    for epoch in np.unique(epochs[epochs > 0]):
        there = done[np.isfinite(done[:, epoch - 1]), epoch - 1]
        if len(there) < options.get("n_min_trials", 1) or not len(there):
            continue
        mark = np.percentile(there, 100.0 - options.get("percentile", 25.0))
        stop |= (epochs == epoch) & (best < mark)
    return stop & _is_checked(epochs, options)


def _median(curves: Curves, rows: Ints, options: Mapping[str, Any]) -> Bools:
    return _percentile(curves, rows, {**options, "percentile": 50.0})


def _threshold(curves: Curves, rows: Ints, options: Mapping[str, Any]) -> Bools:
    """Stops trials whose last value is outside of given bounds."""
    sign = 1.0 if curves.maximize else -1.0
    last = sign * curves.last[rows]
    outside = (last < options.get("lower", -np.inf)) | (last > options.get("upper", np.inf))
    return np.asarray(outside & _is_checked(curves.epochs[rows], options))


def _patient(curves: Curves, rows: Ints, options: Mapping[str, Any]) -> Bools:
    """Stops trials that have got no better for some epochs."""
    patience, margin = options.get("patience", 3), options.get("min_delta", 0.0)
    epochs = curves.epochs[rows]
    values = np.nan_to_num(curves.values[rows], nan=-np.inf)
    columns = np.arange(values.shape[1])[None]
    is_recent = columns >= (epochs - patience - 1)[:, None]
    before = np.where(is_recent, -np.inf, values).max(axis=1, initial=-np.inf)
    after = np.where(is_recent, values, -np.inf).max(axis=1, initial=-np.inf)
    return np.asarray((epochs > patience + 1) & (before - margin > after))


def _halving(curves: Curves, rows: Ints, options: Mapping[str, Any]) -> Bools:
    """Stops trials that are not among the best of those that have come to a rung."""
    factor = int(options.get("reduction_factor", 3))
    lowest = options.get("min_resource", "auto")
    rung = max(1, curves.horizon // factor**2) if lowest == "auto" else int(lowest)
    epochs = curves.epochs[rows]
    stop = np.zeros(len(rows), dtype=bool)
    while rung < curves.horizon:
        there = curves.at(rung)
        there = np.sort(there[np.isfinite(there)])[::-1]
        if len(there):
            mark = there[max(1, len(there) // factor) - 1]
            stop |= (epochs == rung) & ~(curves.last[rows] >= mark)
        rung *= factor
    return stop


def _wilcoxon(curves: Curves, rows: Ints, options: Mapping[str, Any]) -> Bools:
    """Stops trials that a signed-rank test finds worse, epoch by epoch, than the best one."""
    stop = np.zeros(len(rows), dtype=bool)
    done = np.flatnonzero(curves.states == State.COMPLETE)
    if not len(done):
        return stop
    finals = np.where(np.isnan(curves.finals), curves.best, curves.finals)[done]
    best = curves.values[done[int(np.nan_to_num(finals, nan=-np.inf).argmax())]]
    for i, row in enumerate(rows):
        stop[i] = _is_worse(curves.values[row], best, options)
    return stop


def _is_worse(values: Floats, best: Floats, options: Mapping[str, Any]) -> bool:
    both = np.isfinite(values) & np.isfinite(best)
    if both.sum() < max(2, options.get("n_startup_steps", 2)):
        return False
    # Takes longer to load than everything else that a study needs from here.
    from scipy.stats import wilcoxon

    gaps = values[both] - best[both]
    chance = wilcoxon(gaps, alternative="less", zero_method="zsplit").pvalue
    # Its average so far may be above that of the whole best curve: then it is not given up.
    is_ahead = np.nanmean(best) <= np.nanmean(values)
    return bool(chance < options.get("p_threshold", 0.1) and not is_ahead)


def _running_best(curves: Curves, rows: Ints) -> Floats:
    values = np.where(np.isnan(curves.values[rows]), -np.inf, curves.values[rows])
    return np.asarray(values.max(axis=1, initial=-np.inf))


def _is_checked(epochs: Ints, options: Mapping[str, Any]) -> Bools:
    """Tells which epochs are ones at which trials are judged; they come one after the other."""
    warmup, interval = options.get("n_warmup_steps", 0), options.get("interval_steps", 1)
    return np.asarray((epochs >= warmup) & ((epochs - warmup) % interval == 0))


RULES: Final[Mapping[str, Rule]] = {
    "none": _never,
    "median": _median,
    "percentile": _percentile,
    "threshold": _threshold,
    "patient": _patient,
    "wilcoxon": _wilcoxon,
    "asha": _halving,
}
