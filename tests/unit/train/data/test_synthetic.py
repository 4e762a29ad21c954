"""Data that is made: what it says it is, and the same for ever."""

from typing import Any

import numpy as np
import pytest
import torch

from hpo import data
from hpo.errors import TaskError


def everything(loaded: data.Data) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    splits = loaded.splits()
    assert splits.test is not None
    parts = (splits.train, splits.val, splits.test)
    return torch.cat([p.x for p in parts]).numpy(), torch.cat([p.y for p in parts]).numpy()


def test_a_line_has_its_slope_and_intercept() -> None:
    x, y = everything(data.line(2000, slope=-3.0, intercept=0.5, noise=0.2))
    slope, intercept = np.polyfit(x[:, 0], y, 1)
    assert (slope, intercept) == pytest.approx((-3.0, 0.5), abs=0.02)
    residuals = y - (slope * x[:, 0] + intercept)
    assert residuals.std() == pytest.approx(0.2, abs=0.01)


def test_without_noise_a_line_is_exact() -> None:
    x, y = everything(data.line(5, slope=2.0, intercept=0.0, noise=0.0))
    assert len(y) == 5
    np.testing.assert_allclose(y, 2 * x[:, 0], rtol=1e-6)


@pytest.mark.parametrize("positive", [0.5, 0.1])
def test_two_classes_have_their_shares(positive: float) -> None:
    x, y = everything(data.two_classes(500, n_features=7, positive=positive))
    assert x.shape == (500, 7)
    assert y.mean() == positive


@pytest.mark.parametrize("make", [data.line, data.two_classes])
def test_a_seed_makes_one_set(make: Any) -> None:
    (x, y), (again, _), (other, _) = (everything(make(50, seed=s)) for s in (1, 1, 2))
    assert np.array_equal(x, again)
    assert not np.array_equal(x, other)
    assert len(y) == 50


def test_the_points_never_change() -> None:
    x, y = everything(data.line(3, seed=0))
    assert sorted(x[:, 0].tolist()) == pytest.approx([0.4002, 0.9787, 1.7641], abs=1e-4)
    assert sorted(y.tolist()) == pytest.approx([1.9871, 2.8597, 4.7522], abs=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.line(0), "needs points"),
        (lambda: data.line(noise=-1.0), "noise of at least 0; found 100 and -1.0"),
        (lambda: data.two_classes(100, positive=0.001), "must leave points to both classes"),
    ],
)
def test_impossible_sets(make: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        make()
