"""Gaussian process over learning curves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hpo.search.model.kernel import Hyperprior, Kernel, Points
from hpo.search.model.model_settings import FIT, KERNEL


def fit_hyperparameters(
    points: Points, z: Tensor, hyperprior: Hyperprior, start: Tensor, n_steps: int
) -> Tensor:
    """Returns the MAP hyperparameters of observed values, in logarithms.

    Args:
        points: N points whose values are known.
        z: [N] Their values, standardised.
        hyperprior: Prior of the hyperparameters.
        start: Where to begin.
        n_steps: Steps of Adam; PyTorch's own takes a second to be imported.
    """
    log_hyper = start.clone()
    mean, square = torch.zeros_like(start), torch.zeros_like(start)
    for i in range(1, n_steps + 1):
        gradient = _gradient(points, z, hyperprior, log_hyper)
        if not bool(torch.isfinite(gradient).all()):
            break
        mean = FIT.momentum * mean + (1.0 - FIT.momentum) * gradient
        square = FIT.decay * square + (1.0 - FIT.decay) * gradient**2
        size = (square / (1.0 - FIT.decay**i)).sqrt() + FIT.smallest
        log_hyper = log_hyper - FIT.step / (1.0 - FIT.momentum**i) * mean / size
    found = hyperprior.clamped(log_hyper)
    return found if bool(torch.isfinite(found).all()) else start


def _gradient(points: Points, z: Tensor, hyperprior: Hyperprior, log_hyper: Tensor) -> Tensor:
    """Returns the gradient of the negative log posterior, NaN where there is none.

    It is the derivative by the logarithms of the hyperparameters.
    """
    log_hyper = log_hyper.clone().requires_grad_(True)
    kernel = Kernel(log_hyper, hyperprior.ordered)
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
    (gradient,) = torch.autograd.grad(
        (outer * noisy).sum() + hyperprior.negative_log_density(log_hyper), log_hyper
    )
    return gradient


@dataclass
class Prediction:
    """Posterior of the values at M points, and what brings it up to date.

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
    """Posterior of the curves after observations and pending points.

    Args:
        points: N points whose values are known.
        z: [N] Their values, standardised.
        log_hyper: Hyperparameters, as ``fit_hyperparameters`` returns them.
        hyperprior: Which features are warped.
    """

    def __init__(
        self, points: Points, z: Tensor, log_hyper: Tensor, hyperprior: Hyperprior
    ) -> None:
        self._kernel = Kernel(log_hyper, hyperprior.ordered)
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

    def predict(self, points: Points) -> Prediction:
        """Returns the prediction at points, without noise."""
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
        prediction = self.predict(points)
        joint = (
            self._kernel.between(prediction.points, prediction.points)
            - prediction.half.T @ prediction.half
        )
        joint.diagonal().add_(FIT.smallest)
        return prediction.mean[:, None] + _factor(joint) @ normal

    def condition_on_pending(self, points: Points, *predictions: Prediction) -> None:
        """Conditions on pending points, each with the mean predicted there.

        Means elsewhere stay the same, variances become smaller.

        Args:
            points: K pending points.
            predictions: Predictions made before, brought up to date.

        Source: Ginsbourger, Le Riche, Carraro, "Kriging is well-suited to parallelize
        optimization", 2010: the kriging believer.
        """
        new = self.predict(points)
        own = self._kernel.between(new.points, new.points) - new.half.T @ new.half
        own.diagonal().add_(self._noise)
        corner = _factor(own)
        for prediction in predictions:
            cross = (
                self._kernel.between(new.points, prediction.points) - new.half.T @ prediction.half
            )
            rows = torch.linalg.solve_triangular(corner, cross, upper=False)
            prediction.half = torch.cat([prediction.half, rows])
            prediction.variance = prediction.variance - (rows * rows).sum(0)
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
