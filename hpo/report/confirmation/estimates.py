"""Estimates: means with their intervals, and paired tests with a correction. Pure functions.

SciPy's distribution of Student's t gives all quantiles and probabilities. `scipy.stats` is not
loaded for it: that takes longer than all the rest.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CONFIDENCE: Final = 0.95
ALPHA: Final = 1 - CONFIDENCE
_EQUAL: Final = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A mean over runs, with the t interval of the true mean.

    Attributes:
        n: The number of runs.
        std: Standard deviation of the runs, with n - 1; None for one run.
        low: Lower end of the 95% interval; None for one run.
        high: Its upper end.
    """

    n: int
    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PairedTest:
    """A two-sided paired t-test of two trials over the seeds that both have.

    Attributes:
        n: The number of pairs.
        difference: Mean difference, the first trial's values minus the second's.
        low: Lower end of the 95% interval of the difference; None without a test.
        high: Its upper end.
        p: Probability of such a difference, or a larger one, if both were equally good. None
            where there is no test: of fewer than two pairs, or where every pair has the same
            difference, so that nothing is known of the noise.
    """

    n: int
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None


def estimate(values: Sequence[float]) -> Estimate | None:
    """Returns the mean of finite values with its interval; None for no values."""
    if not values:
        return None
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Estimate(1, mean)
    std = statistics.stdev(values)
    half = _quantile(len(values)) * std / math.sqrt(len(values))
    return Estimate(len(values), mean, std, mean - half, mean + half)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> PairedTest | None:
    """Tests whether two trials differ by more than the noise between seeds.

    Args:
        first: Values by seed.
        second: Likewise.

    Returns:
        None where they have no seed in common.
    """
    seeds = [seed for seed in first if seed in second]
    differences = [first[seed] - second[seed] for seed in seeds]
    found = estimate(differences)
    if found is None:
        return None
    scale = max((abs(x) for x in (*first.values(), *second.values())), default=0.0)
    spread = max(differences) - min(differences)
    if found.std is None or spread <= _EQUAL * scale:
        return PairedTest(found.n, found.mean)
    from scipy.special import stdtr

    t = found.mean / (found.std / math.sqrt(found.n))
    p = 2 * float(stdtr(found.n - 1, -abs(t)))
    return PairedTest(found.n, found.mean, found.low, found.high, p)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Corrects p-values of several tests, so that few of them are below 0.05 by chance alone.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal
    of Statistics, 1979.

    Args:
        ps: One a test; None where there was none, which stays.
    """
    order = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    most = 0.0
    for rank, (p, i) in enumerate(order):
        most = max(most, min(1.0, p * (len(order) - rank)))
        corrected[i] = most
    return corrected


def _quantile(n: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 1 - ALPHA / 2))
