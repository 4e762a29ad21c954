"""Rungs: the epochs at which trials are compared, and how early the first one may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hpo.search.base.curves import Curves, Floats


@dataclass(frozen=True)
class RungSettings:
    """Settings of the first rung, which a study learns from its own curves.

    On LCBench a first rung at epoch 3 in place of 6 of 52 has less regret (0.192 and 0.081 in place
    of 0.201 and 0.087 after 10 and 25 % of the budget; ``benchmarks/results/lcbench.md``). The
    tests of ``tests/unit/search/schedulers/test_halving.py`` hold what the rung does.

    Attributes:
        usual_share: Without curves the first rung is one in so many of a full training.
        earliest_share: Earliest first rung, likewise.
        latest_share: Latest first rung, likewise.
        n_first_epochs: Epochs that mislead: a model of curves has a rung in half the time, but not
            before the last of these.
        n_enough: Trials that have reached two epochs, so that their ranks there are compared.
        same: Above this rank correlation with the later epoch the earlier one would have told the
            same.
        misleading: Below it the earlier one tells too little.
        unknown: The correlation while too few trials have reached both.
        min_step: A rung is worth going to from an epoch that is less by this factor: rungs may have
            changed since a trial paused, and an epoch or two tell nothing.
    """

    usual_share: int = 9
    earliest_share: int = 27
    latest_share: int = 3
    n_first_epochs: int = 3
    n_enough: int = 8
    same: float = 0.85
    misleading: float = 0.3
    unknown: float = 0.5
    min_step: float = 1.25


_SETTINGS: Final = RungSettings()


def usual_rung(horizon: int, *, is_modelled: bool = False) -> int:
    """Returns the first epoch at which trials are compared while nothing is known of their curves.

    It is a ninth of the horizon. A model of the curves weighs an early look by what such looks
    have told so far, and may have it in half the time, though not in the first epochs.
    """
    ninth = max(1, round(horizon / _SETTINGS.usual_share))
    return (
        min(ninth, max(_SETTINGS.n_first_epochs, round(horizon / _SETTINGS.usual_share / 2)))
        if is_modelled
        else ninth
    )


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
    earliest, latest = (
        max(1, round(horizon / _SETTINGS.earliest_share)),
        max(1, horizon // _SETTINGS.latest_share),
    )
    begin = rung
    while rung * 2 <= latest and agreement(curves, rung, 2 * rung) < _SETTINGS.misleading:
        rung *= 2
    if rung > begin or agreement(curves, rung, 2 * rung) <= _SETTINGS.unknown:
        return rung
    while rung // 2 >= earliest and agreement(curves, rung // 2, rung) > _SETTINGS.same:
        rung //= 2
    return rung


def agreement(curves: Curves, early: int, late: int) -> float:
    """Returns the rank correlation of the values after two epochs.

    Returns:
        Spearman's, or 0.5 while fewer than eight trials have reached the later one.
    """
    first, second = curves.at(early), curves.at(late)
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < _SETTINGS.n_enough:
        return _SETTINGS.unknown
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
    least = _SETTINGS.min_step * epoch
    return next((rung for rung in rungs if rung >= least and rung > epoch), rungs[-1])


def _spearman(first: Floats, second: Floats) -> float:
    ranks = np.stack([_ranks(first), _ranks(second)])
    if (ranks.std(axis=1) == 0.0).any():
        return _SETTINGS.unknown
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Floats) -> Floats:
    """Returns the ranks of values; equal ones share their mean."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = np.cumsum(counts) - (counts - 1) / 2.0
    return np.asarray(means[places])
