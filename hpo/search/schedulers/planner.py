"""Planner: a scheduler's plan, changed where a study would end without a complete trial."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpo.search.base.curves import Curves, Ints, State
from hpo.search.base.decisions import Advance, Ask, Plan
from hpo.search.base.trial_status import is_free, is_pending
from hpo.search.schedulers.registry import Scheduler

# Epochs may take longer than those before them, and checkpoints take time, too.
_SLOWER = 1.25


def decide(scheduler: Scheduler, curves: Curves, ask: Ask, epochs_left: int | None) -> Plan:
    """Returns what to do with free places; the same arguments give the same plan.

    Args:
        scheduler: The study's.
        curves: All trials.
        ask: What is wanted.
        epochs_left: Of the study's budget; None for any number.
    """
    if ask.n_new == 0:
        curves = _without_waiting(curves)
    plan = scheduler.plan(curves, ask)
    curves = curves.with_paused(ask.at_rung)
    return with_one_complete(plan, curves, epochs_left, ask.depth_left)


def with_one_complete(
    plan: Plan, curves: Curves, epochs_left: int | None, depth_left: float | None = None
) -> Plan:
    """Returns a plan by which a study will have one trial that was trained to the end.

    Without one, the best paused trial is trained to the end when nothing else is worth doing, or
    when no more epochs are left than it needs, or no more time.

    Args:
        plan: What the scheduler said.
        curves: All trials; the worker's own at their stop as paused ones.
        epochs_left: Of the study's budget; None for any number.
        depth_left: See ``Ask``.
    """
    pending = is_pending(curves)
    stops = [one.epoch_stop for one in plan.assignments]
    to_the_end = pending & (curves.targets >= curves.horizon)
    is_safe = ((curves.states == State.COMPLETE) | to_the_end).any()
    free = np.flatnonzero(is_free(curves))
    if is_safe or not len(free) or max(stops, default=0) >= curves.horizon:
        return plan
    best, n_needed = _best(curves, free)
    if stops and depth_left is not None and depth_left - max(stops) < _SLOWER * n_needed:
        return _in_time(plan, curves, free, depth_left)
    if not stops and pending.any():
        return plan
    if stops and (epochs_left is None or epochs_left - sum(stops) >= n_needed):
        return plan
    return replace(plan, assignments=(_to_the_end(curves, best),), finished=False)


def _in_time(plan: Plan, curves: Curves, free: Ints, depth_left: float) -> Plan:
    """Returns a plan whose first assignment is the best trial that can be complete in time."""
    free = free[curves.horizon - curves.epochs[free] <= depth_left]
    if not len(free):
        return plan
    last = _to_the_end(curves, _best(curves, free)[0])
    others = [
        one for one in plan.assignments if not isinstance(one, Advance) or one.number != last.number
    ]
    n = len(plan.assignments)
    return replace(plan, assignments=(last, *others)[:n], finished=False)


def _best(curves: Curves, rows: Ints) -> tuple[int, int]:
    """Returns the row of the best trial, and how many epochs it has yet to train."""
    row = int(rows[np.argmax(np.nan_to_num(curves.best[rows], nan=-np.inf))])
    return row, curves.horizon - int(curves.epochs[row])


def _to_the_end(curves: Curves, row: int) -> Advance:
    return Advance(int(curves.numbers[row]), curves.horizon, {"by": "last"})


def _without_waiting(curves: Curves) -> Curves:
    """Returns the curves without trials that no budget lets begin."""
    states = np.where(curves.states == State.WAITING, State.FAILED, curves.states)
    return replace(curves, states=states.astype(np.int64))
