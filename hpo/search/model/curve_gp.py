"""A Gaussian process over learning curves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hpo.search.model.kernel import Hyperprior, Kernel, Points
from hpo.search.model.model_settings import FIT, KERNEL


def learn(points: Points, z: Tensor, belief: Hyperprior, start: Tensor, n_steps: int) -> Tensor:
    """Returns the hyperparameters that make observed values likely, in logarithms.

    Args:
        points: N points whose values are known.
        z: [N] Their values, standardised.
        belief: What was thought of the hyperparameters before.
        start: Where to begin.
        n_steps: Steps of Adam; PyTorch's own takes a second to be imported.
    """
    log_hyper = start.clone()
    mean, square = torch.zeros_like(start), torch.zeros_like(start)
    for i in range(1, n_steps + 1):
        slope = _slope(points, z, belief, log_hyper)
        if not bool(torch.isfinite(slope).all()):
            break
        mean = FIT.momentum * mean + (1.0 - FIT.momentum) * slope
        square = FIT.decay * square + (1.0 - FIT.decay) * slope**2
        size = (square / (1.0 - FIT.decay**i)).sqrt() + FIT.smallest
        log_hyper = log_hyper - FIT.step / (1.0 - FIT.momentum**i) * mean / size
    found = belief.within(log_hyper)
    return found if bool(torch.isfinite(found).all()) else start


def _slope(points: Points, z: Tensor, belief: Hyperprior, log_hyper: Tensor) -> Tensor:
    """Returns the derivative of the misfit by the hyperparameters, NaN where there is none.

    The misfit is the negative logarithm of their posterior density.
    """
    log_hyper = log_hyper.clone().requires_grad_(True)
    kernel = Kernel(log_hyper, belief.ordered)
    warped = Points(kernel.warp(points.x), points.time, points.trial)
    covariance = kernel.between(warped, warped)
    noisy = covariance + (kernel.scalar("noise") + KERNEL.jitter) * torch.eye(len(z), dtype=z.dtype)
    factor, failed = torch.linalg.cholesky_ex(noisy.detach())
    if failed:
        return torch.full_like(log_hyper, math.nan)
    solved = torch.cholesky_solve(z[:, None], factor)
    # The derivative by the covariance is known; going back through its factor takes far longer.
    outer = 0.5 * (torch.cholesky_inverse(factor) - solved @ solved.T)
    # As a sum, for autograd imports seconds' worth of modules where it is handed derivatives.
    (slope,) = torch.autograd.grad((outer * noisy).sum() + belief.surprise(log_hyper), log_hyper)
    return slope


@dataclass
class Prediction:
    """What a posterior says of M points, and what it takes to bring that up to date.

    Attributes:
        points: Warped.
        mean: [M]
        variance: [M]
        half: [N, M] The points' covariances with the N observed ones, solved by the factor.
    """

    points: Points
    mean: Tensor
    variance: Tensor
    half: Tensor

    @property
    def sd(self) -> Tensor:
        """[M] Standard deviation."""
        return self.variance.clamp(min=FIT.smallest).sqrt()


class Posterior:
    """The curves after observations, and after assuming that pending ones come as expected.

    Args:
        points: N points whose values are known.
        z: [N] Their values, standardised.
        log_hyper: Hyperparameters, as ``learn`` returns them.
        belief: Which features are warped.
    """

    def __init__(self, points: Points, z: Tensor, log_hyper: Tensor, belief: Hyperprior) -> None:
        self._kernel = Kernel(log_hyper, belief.ordered)
        self._points = self.warped(points)
        self._noise = float(self._kernel.scalar("noise")) + KERNEL.jitter
        covariance = self._kernel.between(self._points, self._points)
        covariance.diagonal().add_(self._noise)
        self._factor = _factor(covariance)
        self._solved = torch.cholesky_solve(z[:, None], self._factor)[:, 0]
        self._weights = torch.linalg.solve_triangular(self._factor, z[:, None], upper=False)[:, 0]
        self.fitted = z - self._noise * self._solved
        self.noise = math.sqrt(self._noise)

    def warped(self, points: Points) -> Points:
        """Returns points as the kernel takes them."""
        return Points(self._kernel.warp(points.x), points.time, points.trial)

    def guess(self, points: Points) -> Prediction:
        """Returns what to expect at points, before noise."""
        warped = self.warped(points)
        cross = self._kernel.between(self._points, warped)
        half = torch.linalg.solve_triangular(self._factor, cross, upper=False)
        variance = self._kernel.variance(warped) - (half * half).sum(0)
        return Prediction(warped, half.T @ self._weights, variance, half)

    def draws(self, points: Points, normal: Tensor) -> Tensor:
        """Returns joint draws of the values at points, before noise.

        Args:
            points: M points.
            normal: [M, S] Independent standard normal numbers.

        Returns:
            [M, S]
        """
        guess = self.guess(points)
        joint = self._kernel.between(guess.points, guess.points) - guess.half.T @ guess.half
        joint.diagonal().add_(FIT.smallest)
        return guess.mean[:, None] + _factor(joint) @ normal

    def assume(self, points: Points, *guesses: Prediction) -> None:
        """Takes pending points for observed, each with the value expected there.

        What is expected elsewhere stays the same; how sure it is does not.

        Args:
            points: K pending points.
            guesses: Guesses made before, brought up to date.

        Source: Ginsbourger, Le Riche, Carraro, "Kriging is well-suited to parallelize
        optimization", 2010: the kriging believer.
        """
        new = self.guess(points)
        own = self._kernel.between(new.points, new.points) - new.half.T @ new.half
        own.diagonal().add_(self._noise)
        corner = _factor(own)
        for guess in guesses:
            cross = self._kernel.between(new.points, guess.points) - new.half.T @ guess.half
            rows = torch.linalg.solve_triangular(corner, cross, upper=False)
            guess.half = torch.cat([guess.half, rows])
            guess.variance = guess.variance - (rows * rows).sum(0)
        n, k = len(self._points), len(points)
        factor = torch.zeros(n + k, n + k, dtype=self._factor.dtype)
        factor[:n, :n], factor[n:, :n], factor[n:, n:] = self._factor, new.half.T, corner
        self._factor = factor
        self._points = self._points.joined(new.points)
        # As expected: the new values add nothing to the means.
        self._weights = torch.cat([self._weights, torch.zeros(k, dtype=self._weights.dtype)])


def _factor(covariance: Tensor) -> Tensor:
    """Returns the lower Cholesky factor, adding to the diagonal until there is one."""
    extra = KERNEL.jitter
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    while failed:
        factor, failed = torch.linalg.cholesky_ex(
            covariance + extra * torch.eye(len(covariance), dtype=covariance.dtype)
        )
        extra *= 10.0
    return factor
