"""Kernel: the covariance of learning curves, of (params, epoch) with (params, epoch)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hpo.search.model.model_settings import KERNEL

SQRT5: Final = math.sqrt(5.0)

SCALARS: Final = (
    "params",
    "params_time",
    "time",
    "trial",
    "time_length",
    "trial_length",
    "noise",
    "trend",
)


@dataclass(frozen=True)
class Points:
    """Places on learning curves. N of them, D features.

    Attributes:
        x: [N, D] Features of the params.
        time: [N] Logarithm of the epoch, over that of the horizon.
        trial: [N] Number of the trial; -1 for untried params.
    """

    x: Tensor
    time: Tensor
    trial: Tensor

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, index: Tensor | slice) -> Points:
        return Points(self.x[index], self.time[index], self.trial[index])

    def joined(self, other: Points) -> Points:
        """Returns these points followed by others."""
        return Points(
            torch.cat([self.x, other.x]),
            torch.cat([self.time, other.time]),
            torch.cat([self.trial, other.trial]),
        )


class Kernel:
    """A covariance function, given the logarithms of its hyperparameters.

    k = a1 M(x) + a2 M(x) R(t) + a3 R(t) + a4 [same trial] E(t) + a5 P(x): the quality of params,
    how their curves run, how all curves run, what is one trial's own (its seed, or what the model
    does not see), and a trend over the whole space. M is Matérn 5/2 with a length for each
    feature, R Gaussian, E exponential, P a polynomial of degree two: after a few trials it tells
    which half of a range is better, also far from all of them. Before, each number's coordinate u
    is warped to 1 - (1 - u^a)^b, for the effect of many a hyperparameter crowds at one end of its
    range.

    Source: Swersky, Snoek, Adams, "Freeze-Thaw Bayesian Optimization", 2014; the warping: Snoek,
    Swersky, Zemel, Adams, "Input Warping for Bayesian Optimization of Non-Stationary Functions",
    ICML 2014, with Kumaraswamy's distribution in place of the Beta; a trend beside Matérn:
    Cowen-Rivers et al., "HEBO: Pushing the Limits of Sample-Efficient Hyperparameter
    Optimisation", JAIR 2022.

    Args:
        log_hyper: [3 D + 8] Lengths, exponents a, exponents b, then ``SCALARS``.
        ordered: [D] Which features are warped.
    """

    def __init__(self, log_hyper: Tensor, ordered: Tensor) -> None:
        n = len(ordered)
        hyper = log_hyper.exp()
        self.lengths, self.a, self.b = hyper[:n], hyper[n : 2 * n], hyper[2 * n : 3 * n]
        self._scalars = hyper[3 * n :]
        self._ordered = ordered
        self._middle = 0.5 / self.lengths

    def scalar(self, name: str) -> Tensor:
        """Returns one of ``SCALARS``."""
        return self._scalars[SCALARS.index(name)]

    def variance(self, points: Points) -> Tensor:
        """Returns the prior variance of values without their noise, [N]; ``x`` is warped."""
        around = points.x - self._middle
        trend = self._trend((around * around).sum(1))
        return self._scalars[:4].sum() + self.scalar("trend") * trend

    def warp(self, x: Tensor) -> Tensor:
        """Returns features as distances are measured on them, [N, D]."""
        inner = x.clamp(KERNEL.edge, 1.0 - KERNEL.edge)
        warped = 1.0 - (1.0 - inner**self.a) ** self.b
        return torch.where(self._ordered, warped, x) / self.lengths

    def between(self, left: Points, right: Points) -> Tensor:
        """Returns the covariances of two sets of points, [N, M]; their ``x`` are warped."""
        from_left, from_right = left.x - self._middle, right.x - self._middle
        products = from_left @ from_right.T
        squares = (from_left**2).sum(1)[:, None] + (from_right**2).sum(1)[None]
        square = (squares - 2.0 * products).clamp(min=1e-12)
        distance = SQRT5 * square.sqrt()
        matern = (1.0 + distance + square * (5.0 / 3.0)) * torch.exp(-distance)
        # Candidates mostly share one time: a column of gaps is enough for them.
        times = right.time[:1] if _is_constant(right.time) else right.time
        gap = left.time[:, None] - times[None]
        gauss = torch.exp(-0.5 * (gap / self.scalar("time_length")) ** 2)
        trend = self.scalar("trend") * self._trend(products)
        of_params = self.scalar("params") * matern + trend
        of_time = (self.scalar("params_time") * matern + self.scalar("time")) * gauss
        same = (left.trial[:, None] == right.trial[None]) & (left.trial[:, None] >= 0)
        if not same.any():
            return of_params + of_time
        own = self.scalar("trial") * torch.exp(-gap.abs() / self.scalar("trial_length"))
        return of_params + of_time + torch.where(same, own, 0.0)

    def _trend(self, products: Tensor) -> Tensor:
        """Returns the covariance of the trend from the products of features around the middle."""
        return (1.0 + products * (KERNEL.bend / max(1, len(self.lengths)))) ** 2


@dataclass(frozen=True)
class Hyperprior:
    """Prior of the hyperparameters: normal in their logarithms.

    Attributes:
        mean: [3 D + 8]
        sd: [3 D + 8]
        ordered: [D]
    """

    mean: Tensor
    sd: Tensor
    ordered: Tensor

    @classmethod
    def default(cls, ordered: Sequence[bool], exponents: Sequence[float]) -> Hyperprior:
        """Returns the usual hyperprior.

        Args:
            ordered: For each feature, whether it is a number's coordinate.
            exponents: For each feature, where the first exponent of its warping is expected.
        """
        n = len(ordered)
        # In many dimensions points lie farther apart.
        length = KERNEL.length_median * max(1.0, math.sqrt(n / KERNEL.length_features))
        mean = [math.log(length)] * n + [math.log(a) for a in exponents] + [0.0] * n
        mean += [math.log(value) for value in KERNEL.scalar_medians]
        sd = (
            [KERNEL.length_log_sd] * n
            + [KERNEL.warp_log_sd] * (2 * n)
            + [KERNEL.scalar_log_sd] * len(SCALARS)
        )
        return cls(_tensor(mean), _tensor(sd), torch.tensor(ordered, dtype=torch.bool))

    def negative_log_density(self, log_hyper: Tensor) -> Tensor:
        """Returns the negative logarithm of the density, up to a constant."""
        return 0.5 * (((log_hyper - self.mean) / self.sd) ** 2).sum()

    def clamped(self, log_hyper: Tensor) -> Tensor:
        """Returns the hyperparameters, moved into the range where they mean something."""
        return log_hyper.clamp(KERNEL.min_log, KERNEL.max_log)


def _tensor(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _is_constant(values: Tensor) -> bool:
    return len(values) > 1 and bool((values == values[0]).all())
