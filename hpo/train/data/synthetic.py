"""Data that is made, not measured: the same for the same seed, on every machine."""

from __future__ import annotations

import numpy as np

from hpo.errors import TaskError
from hpo.train.data.dataset import Data

# RandomState throughout, because NumPy promises that its numbers stay the same in future versions.


def line(
    n: int = 100,
    *,
    slope: float = 2.0,
    intercept: float = 1.0,
    noise: float = 0.1,
    seed: int = 0,
) -> Data:
    """Returns points of a line with normal noise: a regression of y = slope * x + intercept.

    Args:
        n: Number of points; x is standard normal.
        slope: Of the line.
        intercept: Of the line.
        noise: Standard deviation of what is added to y; 0 for none.
        seed: Of the points.

    Raises:
        TaskError: There are no points, or the noise is negative.
    """
    if n < 1 or noise < 0:
        raise TaskError(f"a line needs points, and noise of at least 0; found {n} and {noise}")
    random = np.random.RandomState(seed)
    x = random.standard_normal(n)
    y = slope * x + intercept + noise * random.standard_normal(n)
    return Data.split(x, y.astype(np.float32), kind="regression")


def two_classes(
    n: int = 1000,
    *,
    n_features: int = 10,
    positive: float = 0.5,
    noise: float = 0.5,
    seed: int = 0,
) -> Data:
    """Returns points around a curved boundary between two classes.

    Args:
        n: Number of points; their features are standard normal.
        n_features: Features of each, all of which matter.
        positive: Share of the second class: small for imbalanced classes.
        noise: How far classes overlap: standard deviation of what blurs the boundary.
        seed: Of the points.

    Raises:
        TaskError: The share leaves one of the classes empty.
    """
    n_positive = round(n * positive)
    if not 0 < n_positive < n:
        raise TaskError(f"positive must leave points to both classes; found {positive} of {n}")
    random = np.random.RandomState(seed)
    x = random.standard_normal((n, n_features))
    along, across = random.standard_normal((2, n_features)) / np.sqrt(n_features)
    score = x @ along + (x @ across) ** 2 + noise * random.standard_normal(n)
    return Data.split(x, score >= np.sort(score)[n - n_positive], kind="classification")
