"""Successive halving that pauses: the best of each rung are promoted, at any later time.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (ASHA), MLSys 2020;
brackets: Li et al., "Hyperband", JMLR 2018; with a model: Falkner, Klein, Hutter, "BOHB", 2018.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpo.search.base.curves import Curves, Floats, Ints, State
from hpo.search.base.decisions import Advance, Ask, Decision, Plan, Start
from hpo.search.base.derived_seeds import uniforms
from hpo.search.base.proposers import Proposal, Proposer
from hpo.search.base.rungs import ladder, lowest_rung
from hpo.search.base.trial_status import at_targets, is_free, is_over, is_pending


@dataclass(frozen=True)
class HalvingSettings:
    """Settings of successive halving.

    Attributes:
        seed: The study's.
        factor: Reduction factor: of the trials at a rung, one in ``factor`` is promoted. The
            default is that of Hyperband's paper; a study file may have another one.
        lowest: Epoch of the first rung; None to learn it from the curves.
        n_brackets: Brackets, whose first rungs are ``factor`` apart; 0 for as many as there are
            rungs, as in Hyperband.
    """

    seed: int = 0
    factor: int = 3
    lowest: int | None = None
    n_brackets: int = 1


class Halving:
    """Asynchronous successive halving, over one bracket or several.

    Args:
        name: ``asha``, ``hyperband`` or ``bohb``.
        settings: How trials are promoted.
        proposer: Where new points come from.
    """

    version = "2"
    pauses = True

    def __init__(self, name: str, settings: HalvingSettings, proposer: Proposer) -> None:
        self.name = name
        self._settings = settings
        self._proposer = proposer

    def plan(self, curves: Curves, ask: Ask) -> Plan:
        """Returns what to do with free places: promotions first, then new trials."""
        curves = curves.with_paused(ask.at_rung)
        rungs = self._rungs(curves)
        advances = self._promotions(curves, rungs)[: ask.n]
        n_free = ask.n - len(advances)
        n_new = n_free if ask.n_new is None else min(n_free, ask.n_new)
        numbers = list(range(curves.next_number, curves.next_number + n_new))
        points, memory = self._proposer.propose(curves, numbers, ask)
        firsts = self._brackets(rungs, numbers).tolist()
        starts = [
            Start(number, point, rungs[first], {"by": self._proposer.name})
            for number, point, first in zip(numbers, points, firsts, strict=False)
        ]
        if not starts and not advances:
            advances = _closing(curves, rungs)[: ask.n]
        note = {"method": self.name, "version": self.version, "rungs": list(rungs)}
        finished = not starts and not advances and is_over(curves)
        return Plan((*advances, *starts), finished, note, memory)

    def propose(self, curves: Curves, numbers: Sequence[int], ask: Ask) -> Proposal:
        """Returns params for new trials that got these numbers."""
        return self._proposer.propose(curves, numbers, ask)

    def judge(self, curves: Curves, numbers: Sequence[int]) -> list[Decision]:
        """Returns what becomes of running trials after an epoch."""
        return at_targets(curves, numbers)

    def _rungs(self, curves: Curves) -> tuple[int, ...]:
        lowest = self._settings.lowest or lowest_rung(curves)
        return ladder(min(lowest, curves.horizon), curves.horizon, float(self._settings.factor))

    def _brackets(self, rungs: tuple[int, ...], numbers: npt.ArrayLike) -> Ints:
        """Returns the brackets of trials, by their numbers: the index of the first rung of each.

        Brackets with early first rungs get the more trials, so that all spend alike.
        """
        n = min(self._settings.n_brackets or len(rungs), len(rungs))
        above = len(rungs) - 1 - np.arange(n)
        shares = self._settings.factor ** above.astype(float) / (above + 1)
        limits = np.cumsum(shares / shares.sum())[:-1]
        return np.searchsorted(limits, uniforms(self._settings.seed, numbers), side="right")

    def _promotions(self, curves: Curves, rungs: tuple[int, ...]) -> list[Advance]:
        """Returns the paused trials that are among the best of their rung, the highest first."""
        free = is_free(curves)
        brackets = self._brackets(rungs, curves.numbers)
        advances = []
        for rung, goal in reversed(list(itertools.pairwise(rungs))):
            for bracket in np.unique(brackets):
                rows = np.flatnonzero((brackets == bracket) & np.isfinite(curves.at(rung)))
                best = _best(curves.at(rung), rows, len(rows) // self._settings.factor)
                waiting = best[free[best] & (curves.epochs[best] < goal)]
                advances += [
                    Advance(int(curves.numbers[row]), goal, {"by": "rung", "rung": rung})
                    for row in waiting
                    if curves.epochs[row] >= rung
                ]
        return _once_each(advances)


def _once_each(advances: Sequence[Advance]) -> list[Advance]:
    return list({one.number: one for one in reversed(advances)}.values())[::-1]


def _best(values: Floats, rows: Ints, n: int) -> Ints:
    return np.asarray(rows[np.argsort(-values[rows], kind="stable")[:n]])


def _closing(curves: Curves, rungs: tuple[int, ...]) -> list[Advance]:
    """Returns the best paused trial, if none is complete and none runs that could be."""
    free = np.flatnonzero(is_free(curves))
    complete = (curves.states == State.COMPLETE) | is_pending(curves)
    if complete.any() or not len(free):
        return []
    row = _best(np.nan_to_num(curves.best, nan=-np.inf), free, 1)[0]
    return [Advance(int(curves.numbers[row]), rungs[-1], {"by": "closing"})]
