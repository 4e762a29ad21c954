"""What a worker is told to do: its scheduler's plan, and the end of a study seen to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpo.search.curves import Curves, State
from hpo.search.decisions import Advance, Ask, Plan
from hpo.search.judging import is_free, is_pending
from hpo.search.schedulers import Scheduler


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
    return with_one_complete(plan, curves.with_paused(ask.at_rung), epochs_left)


def with_one_complete(plan: Plan, curves: Curves, epochs_left: int | None) -> Plan:
    """Returns a plan by which a study will have one trial that was trained to the end.

    Without one, the best paused trial goes on to the end when nothing else is worth doing, or
    when no more epochs are left than it needs.

    Args:
        plan: What the scheduler said.
        curves: All trials; the worker's own at their stop as paused ones.
        epochs_left: Of the study's budget; None for any number.
    """
    pending = is_pending(curves)
    stops = [one.epoch_stop for one in plan.assignments]
    to_the_end = pending & (curves.targets >= curves.horizon)
    is_safe = ((curves.states == State.COMPLETE) | to_the_end).any()
    free = np.flatnonzero(is_free(curves))
    if is_safe or not len(free) or max(stops, default=0) >= curves.horizon:
        return plan
    best = free[np.argmax(np.nan_to_num(curves.best[free], nan=-np.inf))]
    n_needed = curves.horizon - int(curves.epochs[best])
    if not stops and pending.any():
        return plan
    if stops and (epochs_left is None or epochs_left - sum(stops) >= n_needed):
        return plan
    last = Advance(int(curves.numbers[best]), curves.horizon, {"by": "closing"})
    return replace(plan, assignments=(last,), finished=False)


def _without_waiting(curves: Curves) -> Curves:
    """Returns the curves without trials that no budget lets begin."""
    states = np.where(curves.states == State.WAITING, State.FAILED, curves.states)
    return replace(curves, states=states.astype(np.int64))
