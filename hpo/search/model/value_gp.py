"""Gaussian process over params alone, for objectives whose trials have one value each.

Source: Matérn 5/2 with a length for each feature: Snoek, Larochelle, Adams, "Practical Bayesian
Optimization of Machine Learning Algorithms", NeurIPS 2012; lengths by the number of features:
Hvarfner, Hellsten, Nardi, "Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML
2024; the logarithm of the expected improvement: Ament et al., "Unexpected Improvements to Expected
Improvement for Bayesian Optimization", NeurIPS 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr

from hpo.search.base.curves import Floats, Ints

_SQRT5 = math.sqrt(5.0)
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class ValueGPSettings:
    """Settings of the covariance of values and of the MAP fit of its hyperparameters.

    The hyperprior is log-normal. ``benchmarks/objectives.py`` measures a change, and
    ``tests/promises/test_search_outcomes.py`` holds what the search finds with these.

    Attributes:
        jitter: What is added to the diagonal of a covariance; ten times as much at a time until
            it has a Cholesky factor.
        log_length: Prior mean of the logarithm of a feature's length, with a single feature. With
            more it grows by half the logarithm of their number (Hvarfner, Hellsten, Nardi, ICML
            2024, who begin with a larger one).
        length_sd: Prior standard deviation of this logarithm.
        scale_sd: The same of the signal variance, whose prior median is 1: values are standardised.
        log_trend: Prior mean of the logarithm of the trend's variance.
        trend_sd: Prior standard deviation of this logarithm.
        log_noise: Prior mean of the logarithm of the noise's variance: objectives without reports
            are often deterministic.
        noise_sd: Prior standard deviation of this logarithm.
        min_log_noise: Least logarithm of the noise's variance.
        log_noise_start: Where its fit begins: with more noise, which smooths the likelihood.
        log_length_bounds: Bounds of a length's logarithm.
        log_variance_bounds: Bounds of the logarithms of the two variances.
        max_log_noise: Largest logarithm of the noise's variance.
        n_steps: Most steps of L-BFGS (Liu, Nocedal 1989) of the fit.
        n_local_steps: Most steps of L-BFGS from one candidate.
        min_variance: Least variance of a prediction, which rounding may make negative.
    """

    jitter: float = 1e-8
    log_length: float = math.log(0.5)
    length_sd: float = 1.0
    scale_sd: float = 1.0
    log_trend: float = math.log(0.3)
    trend_sd: float = 1.5
    log_noise: float = math.log(1e-5)
    noise_sd: float = 3.0
    min_log_noise: float = math.log(1e-7)
    log_noise_start: float = math.log(1e-3)
    log_length_bounds: tuple[float, float] = (math.log(0.01), math.log(100.0))
    log_variance_bounds: tuple[float, float] = (-12.0, 6.0)
    max_log_noise: float = 1.0
    n_steps: int = 60
    n_local_steps: int = 30
    min_variance: float = 1e-14


VALUE_GP: Final = ValueGPSettings()


@dataclass(frozen=True)
class GPHyperparameters:
    """Hyperparameters, in logarithms: each feature's length, the variances, the noise."""

    lengths: Floats
    scale: float
    trend: float
    noise: float


class ValueGP:
    """The posterior of a function that was seen at some points.

    Args:
        x: [N, D] The points' features.
        z: [N] The values, standardised.
        hyper: As ``fit_hyperparameters`` returns it.
    """

    def __init__(self, x: Floats, z: Floats, hyper: GPHyperparameters) -> None:
        self.x, self.z, self.hyper = x, z, hyper
        self._lengths, self._scale = np.exp(hyper.lengths), math.exp(hyper.scale)
        self._trend, self._noise = math.exp(hyper.trend), math.exp(hyper.noise)
        covariance = self._between(x, x)
        covariance[np.diag_indices(len(x))] += self._noise + VALUE_GP.jitter
        self._factor = _factor(covariance)
        self._solved = cho_solve((self._factor, True), z)
        self.fitted = z - (self._noise + VALUE_GP.jitter) * self._solved

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Returns mean and standard deviation at points, [M, D], before noise."""
        cross = self._between(self.x, x)
        half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        before = self._scale + self._trend * _quadratic((_centred(x) ** 2).sum(axis=1), x.shape[1])
        variance = before - (half * half).sum(axis=0)
        return cross.T @ self._solved, np.sqrt(np.maximum(variance, VALUE_GP.min_variance))

    def predict_with_gradient(self, x: Floats) -> tuple[float, float, Floats, Floats]:
        """Returns mean, standard deviation and their derivatives at one point, [D]."""
        apart = (x - self.x) / self._lengths
        distance = _SQRT5 * np.sqrt((apart * apart).sum(axis=1))
        decay = self._scale * np.exp(-distance)
        cross = decay * (1.0 + distance + distance * distance / 3.0)
        by_x = -(5.0 / 3.0) * (decay * (1.0 + distance))[:, None] * apart / self._lengths
        centred, seen, n = _centred(x), _centred(self.x), len(x)
        cross += self._trend * _quadratic(seen @ centred, n)
        by_x += self._trend * (4.0 / n) * (1.0 + seen @ centred / n)[:, None] * seen
        size = float(centred @ centred)
        before = self._scale + self._trend * float(_quadratic(size, n))
        by_before = self._trend * (8.0 / n) * (1.0 + size / n) * centred
        half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        solved = solve_triangular(self._factor, half, lower=True, trans=1, check_finite=False)
        sd = math.sqrt(max(before - float(half @ half), VALUE_GP.min_variance))
        by_sd = (0.5 * by_before - by_x.T @ solved) / sd
        return float(cross @ self._solved), sd, by_x.T @ self._solved, by_sd

    def _between(self, left: Floats, right: Floats) -> Floats:
        matern = _matern(left / self._lengths, right / self._lengths)
        return self._scale * matern + self._trend * _trend(left, right)

    def with_pending(self, x: Floats) -> ValueGP:
        """Returns the posterior once pending points, [K, D], have come as expected."""
        mean, _ = self.predict(x)
        return ValueGP(np.concatenate([self.x, x]), np.concatenate([self.z, mean]), self.hyper)


def fit_hyperparameters(x: Floats, z: Floats) -> tuple[GPHyperparameters, float]:
    """Returns the MAP hyperparameters and the logarithm of their posterior density.

    Args:
        x: [N, D] Features.
        z: [N] Values, standardised.
    """
    n_features = x.shape[1]
    usual = np.full(n_features + 3, VALUE_GP.log_length + 0.5 * math.log(max(1, n_features)))
    usual[-3:] = 0.0, VALUE_GP.log_trend, VALUE_GP.log_noise
    sd = np.full(n_features + 3, VALUE_GP.length_sd)
    sd[-3:] = VALUE_GP.scale_sd, VALUE_GP.trend_sd, VALUE_GP.noise_sd
    bounds = [VALUE_GP.log_length_bounds] * n_features
    bounds += [VALUE_GP.log_variance_bounds] * 2 + [
        (VALUE_GP.min_log_noise, VALUE_GP.max_log_noise)
    ]
    trend = _trend(x, x)

    def negative_log_posterior(log_hyper: Floats) -> tuple[float, Floats]:
        value, gradient = _negative_log_likelihood(x, z, trend, log_hyper)
        off = (log_hyper - usual) / sd
        return value + 0.5 * float(off @ off), gradient + off / sd

    start = usual.copy()
    start[-1] = VALUE_GP.log_noise_start
    found = minimize(
        negative_log_posterior,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": VALUE_GP.n_steps},
    )
    best = found.x if np.isfinite(found.fun) else usual
    return GPHyperparameters(best[:-3], *map(float, best[-3:])), -float(found.fun)


def _negative_log_likelihood(
    x: Floats, z: Floats, trend: Floats, log_hyper: Floats
) -> tuple[float, Floats]:
    """Returns the negative logarithm of the likelihood, and its derivative."""
    lengths = np.exp(log_hyper[:-3])
    scale, bend, noise = np.exp(log_hyper[-3:]).tolist()
    scaled = x / lengths
    distance = _SQRT5 * np.sqrt(_squares(scaled, scaled))
    decay = scale * np.exp(-distance)
    covariance = decay * (1.0 + distance + distance * distance / 3.0)
    noisy = covariance + bend * trend
    noisy[np.diag_indices(len(z))] += noise + VALUE_GP.jitter
    try:
        factor, _ = cho_factor(noisy, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(log_hyper)
    inverse = cho_solve((factor, True), np.eye(len(z)), check_finite=False)
    solved = inverse @ z
    value = 0.5 * float(z @ solved) + float(np.log(np.diag(factor)).sum()) + len(z) * _HALF_LOG_2PI
    outer = 0.5 * (inverse - np.outer(solved, solved))
    weights = outer * decay * (1.0 + distance) * (5.0 / 3.0)
    gradient = np.empty_like(log_hyper)
    gradient[:-3] = 2.0 * (
        (weights.sum(axis=1)[:, None] * scaled**2).sum(axis=0)
        - (scaled * (weights @ scaled)).sum(axis=0)
    )
    gradient[-3] = float((outer * covariance).sum())
    gradient[-2] = bend * float((outer * trend).sum())
    gradient[-1] = noise * float(np.trace(outer))
    return value, gradient


def log_improvement(mean: Floats, sd: Floats, best: float) -> Floats:
    """Returns the logarithm of the improvement on a value that is expected, [M]."""
    return np.asarray(np.log(sd) + _log_h((mean - best) / sd))


def maximised_improvement(surrogate: ValueGP, x: Floats, free: Ints, best: float) -> Floats:
    """Returns features, [D], moved to where more improvement is expected.

    Args:
        surrogate: The function.
        x: Where to begin, [D].
        free: Indices of the features that may move, within [0, 1].
        best: What to improve on.
    """

    def negative_log_improvement(moved: Floats) -> tuple[float, Floats]:
        point = x.copy()
        point[free] = moved
        mean, sd, by_mean, by_sd = surrogate.predict_with_gradient(point)
        u = (mean - best) / sd
        log_h = float(_log_h(np.array([u]))[0])
        # The derivative of h is the normal distribution function.
        ratio = math.exp(min(float(log_ndtr(u)) - log_h, 700.0))
        by_u = (by_mean - u * by_sd) / sd
        return -(math.log(sd) + log_h), -(by_sd / sd + ratio * by_u)[free]

    found = minimize(
        negative_log_improvement,
        x[free],
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * len(free),
        options={"maxiter": VALUE_GP.n_local_steps},
    )
    moved = x.copy()
    moved[free] = np.clip(found.x, 0.0, 1.0)
    return moved


def _log_h(u: Floats) -> Floats:
    """Returns the logarithm of phi(u) + u Phi(u), exact also where both are tiny."""
    u = np.asarray(u, dtype=np.float64)
    low = u < -1.0
    out = np.empty_like(u)
    high = u[~low]
    out[~low] = np.log(np.exp(-0.5 * high**2 - _HALF_LOG_2PI) + high * np.exp(log_ndtr(high)))
    v = u[low]
    inner = 1.0 + v * math.sqrt(0.5 * math.pi) * erfcx(-v / math.sqrt(2.0))
    # Far out: the first term of the asymptotic series.
    far = np.where(v < -1e4, 1.0 / v**2, np.maximum(inner, 1e-300))
    out[low] = -0.5 * v**2 - _HALF_LOG_2PI + np.log(far)
    return out


def _matern(a: Floats, b: Floats) -> Floats:
    distance = _SQRT5 * np.sqrt(_squares(a, b))
    return np.asarray((1.0 + distance + distance * distance / 3.0) * np.exp(-distance))


def _trend(a: Floats, b: Floats) -> Floats:
    """Returns the covariance of polynomials of degree two around the middle of the space."""
    return np.asarray(_quadratic(_centred(a) @ _centred(b).T, a.shape[1]))


def _quadratic(products: Any, n_features: int) -> Any:
    return (1.0 + products / max(1, n_features)) ** 2


def _centred(x: Floats) -> Floats:
    return 2.0 * x - 1.0


def _factor(covariance: Floats) -> Floats:
    """Returns the lower Cholesky factor, adding to the diagonal until there is one."""
    extra = VALUE_GP.jitter
    while True:
        try:
            return np.asarray(np.linalg.cholesky(covariance))
        except np.linalg.LinAlgError:
            if extra > 1.0:
                raise
            covariance = covariance + extra * np.eye(len(covariance))
            extra *= 10.0


def _squares(a: Floats, b: Floats) -> Floats:
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2.0 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0))
