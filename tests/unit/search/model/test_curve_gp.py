"""The Gaussian process: against the textbook's formulas, and what it learns."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from hpo.search.model.curve_gp import Posterior, fit_hyperparameters
from hpo.search.model.kernel import SCALARS, Hyperprior, Kernel, Points
from hpo.search.model.model_settings import KERNEL

D = 3
HYPERPRIOR = Hyperprior.default([True, True, False], [1.0, 0.5, 1.0])


def _points(n: int, seed: int, *, tried: bool = True) -> Points:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, D, generator=generator, dtype=torch.float64)
    time = torch.rand(n, generator=generator, dtype=torch.float64)
    trial = torch.arange(n) // 3 if tried else torch.full((n,), -1)
    return Points(x, time, trial)


def _values(points: Points) -> torch.Tensor:
    return torch.sin(5.0 * points.x[:, 0]) + points.x[:, 1] * points.time


def _noise(log_hyper: torch.Tensor) -> float:
    return float(log_hyper.exp()[3 * D + SCALARS.index("noise")]) + KERNEL.jitter


def test_guesses_are_those_of_the_formula() -> None:
    known, asked = _points(12, 0), _points(5, 1, tried=False)
    z = _values(known)
    prediction = Posterior(known, z, HYPERPRIOR.mean, HYPERPRIOR).predict(asked)
    kernel = Kernel(HYPERPRIOR.mean, HYPERPRIOR.ordered)
    warped = [Points(kernel.warp(p.x), p.time, p.trial) for p in (known, asked)]
    noisy = kernel.between(warped[0], warped[0]) + _noise(HYPERPRIOR.mean) * torch.eye(12)
    cross = kernel.between(*warped)
    assert torch.allclose(prediction.mean, cross.T @ torch.linalg.solve(noisy, z))
    variance = kernel.variance(warped[1]) - (cross * torch.linalg.solve(noisy, cross)).sum(0)
    assert torch.allclose(prediction.variance, variance)


def test_assuming_the_expected_is_observing_it() -> None:
    known, pending, asked = _points(12, 0), _points(4, 2, tried=False), _points(5, 1, tried=False)
    z = _values(known)
    posterior = Posterior(known, z, HYPERPRIOR.mean, HYPERPRIOR)
    believed = posterior.predict(pending).mean
    prediction = posterior.predict(asked)
    before = copy.copy(posterior)
    posterior.condition_on_pending(pending, prediction)
    observed = Posterior(
        known.joined(pending), torch.cat([z, believed]), HYPERPRIOR.mean, HYPERPRIOR
    )
    for found in (prediction, posterior.predict(asked)):
        assert torch.allclose(found.mean, observed.predict(asked).mean, atol=1e-8)
        assert torch.allclose(found.variance, observed.predict(asked).variance, atol=1e-8)
    assert torch.allclose(before.predict(asked).mean, prediction.mean)
    assert (before.predict(asked).variance > prediction.variance).all()


def test_assuming_nothing_changes_nothing() -> None:
    known, asked = _points(6, 0), _points(5, 1, tried=False)
    posterior = Posterior(known, _values(known), HYPERPRIOR.mean, HYPERPRIOR)
    before = posterior.predict(asked)
    posterior.condition_on_pending(known[torch.zeros(0, dtype=torch.int64)])
    assert torch.equal(before.variance, posterior.predict(asked).variance)


def test_learning_finds_out_which_parameter_matters() -> None:
    known = _points(60, 3)
    z = torch.sin(9.0 * known.x[:, 0])
    found = fit_hyperparameters(known, z, HYPERPRIOR, HYPERPRIOR.mean, 60)
    lengths = Kernel(found, HYPERPRIOR.ordered).lengths
    assert float(lengths[0]) < 0.5 * float(lengths[1:].min())


def test_learning_finds_out_the_noise() -> None:
    known = _points(80, 4)
    noise = torch.randn(80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    still = fit_hyperparameters(known, _values(known), HYPERPRIOR, HYPERPRIOR.mean, 60)
    shaken = fit_hyperparameters(known, _values(known) + noise, HYPERPRIOR, HYPERPRIOR.mean, 60)
    assert _noise(shaken) > 5.0 * _noise(still)


def test_warping_brings_an_end_of_the_range_apart() -> None:
    hyperprior = Hyperprior.default([True], [0.2])
    x = torch.tensor([[0.001], [0.01], [0.5], [0.51]], dtype=torch.float64)
    warped = Kernel(hyperprior.mean, hyperprior.ordered).warp(x)[:, 0]
    assert float(warped[1] - warped[0]) > 3.0 * float(warped[3] - warped[2])


def test_a_trial_shares_its_own_deviation_with_itself_only() -> None:
    kernel = Kernel(HYPERPRIOR.mean, HYPERPRIOR.ordered)
    x, time = torch.full((3, D), 0.4, dtype=torch.float64), torch.full((3,), 0.5).double()
    points = Points(x, time, torch.tensor([0, 0, 1]))
    covariance = kernel.between(points, points)
    own = float(kernel.scalar("trial"))
    assert float(covariance[0, 1] - covariance[0, 2]) == pytest.approx(own)


def test_variances_are_those_of_points_with_themselves() -> None:
    kernel = Kernel(HYPERPRIOR.mean, HYPERPRIOR.ordered)
    points = _points(9, 6)
    warped = Points(kernel.warp(points.x), points.time, points.trial)
    assert torch.allclose(kernel.variance(warped), kernel.between(warped, warped).diagonal())


def test_a_trend_goes_on_where_nobody_was() -> None:
    known = _points(20, 7)
    known = Points(0.5 * known.x, known.time, known.trial)
    z = 4.0 * known.x[:, 0]
    found = fit_hyperparameters(known, z - z.mean(), HYPERPRIOR, HYPERPRIOR.mean, 60)
    ends = torch.tensor([[0.0, 0.25, 0.25], [1.0, 0.25, 0.25]], dtype=torch.float64)
    asked = Points(ends, torch.ones(2).double(), torch.full((2,), -1))
    prediction = Posterior(known, z - z.mean(), found, HYPERPRIOR).predict(asked)
    inside = float((z - z.mean()).max())
    assert float(prediction.mean[0]) < 0.0 < inside < float(prediction.mean[1])


def test_a_singular_history_is_no_error() -> None:
    one = _points(1, 5)
    same = Points(one.x.repeat(30, 1), one.time.repeat(30), one.trial.repeat(30))
    prediction = Posterior(same, torch.zeros(30).double(), HYPERPRIOR.mean, HYPERPRIOR).predict(one)
    assert math.isfinite(float(prediction.mean[0]))
    assert torch.isfinite(
        fit_hyperparameters(same, torch.zeros(30).double(), HYPERPRIOR, HYPERPRIOR.mean, 3)
    ).all()
