"""Trial status: which trials are pending or free, and what becomes of a trial at its target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpo.search.base.curves import Bools, Curves, Ints, State
from hpo.search.base.decisions import Decision

# The best one in so many at an epoch is never stopped there, as in successive halving.
_BEST_SHARE = 3


def at_targets(curves: Curves, numbers: Sequence[int]) -> list[Decision]:
    """Judges trials by their own curves alone: on to the target, then pause, at last complete."""
    rows = curves.rows_of(numbers)
    verdicts = np.full(len(rows), Decision.GO_ON, dtype=np.int64)
    targets = curves.targets[rows]
    verdicts[(targets > 0) & (curves.epochs[rows] >= targets)] = Decision.PAUSE
    verdicts[curves.epochs[rows] >= curves.horizon] = Decision.COMPLETE
    verdicts[curves.diverged[rows]] = Decision.STOP
    return [Decision(verdict) for verdict in verdicts.tolist()]


def is_pending(curves: Curves) -> Bools:
    """Returns which trials are trained, or will be without another decision: [N]."""
    # A trial that was interrupted before its target is resumed as soon as a worker is free.
    interrupted = curves.is_paused & (curves.epochs < curves.targets)
    return np.asarray(curves.is_running | interrupted | (curves.states == State.WAITING))


def is_free(curves: Curves) -> Bools:
    """Returns which trials wait for a decision to resume them: [N]."""
    return curves.is_paused & (curves.epochs >= curves.targets) & (curves.epochs < curves.horizon)


def is_over(curves: Curves) -> bool:
    """Returns whether nothing more comes by itself."""
    return not bool(is_pending(curves).any())


def is_ahead(curves: Curves, rows: Ints) -> Bools:
    """Returns which trials, by their rows, are among the best third at their last epoch: [K]."""
    ahead = np.zeros(len(rows), dtype=bool)
    for i, row in enumerate(rows):
        epoch = int(curves.epochs[row])
        there = curves.at(epoch) if epoch else np.full(len(curves), np.nan)
        n_better = int((there > curves.last[row]).sum())
        ahead[i] = n_better < -(-int(np.isfinite(there).sum()) // _BEST_SHARE)
    return ahead
