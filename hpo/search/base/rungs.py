"""The epochs at which trials are compared: how early the first one may be."""

from __future__ import annotations

import numpy as np

from hpo.search.base.curves import Curves, Floats

# Without any curves: a ninth of a full training. The first epochs mislead.
_USUAL, _EARLIEST, _LATEST = 9, 27, 3
_FIRST_EPOCHS = 3
_N_ENOUGH = 8
# Rank correlations with what comes later: above the first an earlier look would have told the
# same, below the second the look tells too little.
_SAME, _MISLEADING = 0.85, 0.3
_UNKNOWN = 0.5


def usual_rung(horizon: int, *, is_modelled: bool = False) -> int:
    """Returns the first epoch at which trials are compared while nothing is known of their curves.

    It is a ninth of the horizon. A model of the curves weighs an early look by what such looks
    have told so far, and may have it in half the time, though not in the first epochs.
    """
    ninth = max(1, round(horizon / _USUAL))
    return min(ninth, max(_FIRST_EPOCHS, round(horizon / _USUAL / 2))) if is_modelled else ninth


def lowest_rung(curves: Curves, *, is_modelled: bool = False) -> int:
    """Returns the first epoch at which trials are compared, as their own curves advise.

    It begins at the usual one. Where the ranks of the trials that went on to twice the
    epoch changed, it doubles. Where they did not, and trials were ranked alike at half the epoch
    already, it moves there.

    Args:
        curves: All trials.
        is_modelled: See ``usual_rung``.
    """
    horizon = curves.horizon
    rung = usual_rung(horizon, is_modelled=is_modelled)
    earliest, latest = max(1, round(horizon / _EARLIEST)), max(1, horizon // _LATEST)
    begin = rung
    while rung * 2 <= latest and agreement(curves, rung, 2 * rung) < _MISLEADING:
        rung *= 2
    if rung > begin or agreement(curves, rung, 2 * rung) <= _UNKNOWN:
        return rung
    while rung // 2 >= earliest and agreement(curves, rung // 2, rung) > _SAME:
        rung //= 2
    return rung


def agreement(curves: Curves, early: int, late: int) -> float:
    """Returns the rank correlation of the values after two epochs.

    Returns:
        Spearman's, or 0.5 while fewer than eight trials have reached the later one.
    """
    first, second = curves.at(early), curves.at(late)
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < _N_ENOUGH:
        return _UNKNOWN
    return _spearman(first[both], second[both])


def ladder(lowest: int, horizon: int, factor: float) -> tuple[int, ...]:
    """Returns the epochs at which trials pause, about ``factor`` apart, the horizon last."""
    if lowest >= horizon:
        return (horizon,)
    n_steps = max(1, round(np.log(horizon / lowest) / np.log(factor)))
    rungs = np.geomspace(lowest, horizon, n_steps + 1).round().astype(int)
    return tuple(int(rung) for rung in np.unique(rungs))


def next_rung(rungs: tuple[int, ...], epoch: int) -> int:
    """Returns the first rung worth going to from an epoch, which is below the last one."""
    # The ladder may have changed since the trial paused: steps of an epoch or two tell nothing.
    return next((rung for rung in rungs if rung >= 1.25 * epoch and rung > epoch), rungs[-1])


def _spearman(first: Floats, second: Floats) -> float:
    ranks = np.stack([_ranks(first), _ranks(second)])
    if (ranks.std(axis=1) == 0.0).any():
        return _UNKNOWN
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Floats) -> Floats:
    """Returns the ranks of values; equal ones share their mean."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = np.cumsum(counts) - (counts - 1) / 2.0
    return np.asarray(means[places])
