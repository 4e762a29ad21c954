"""Data sets that come with scikit-learn: nothing is downloaded."""

from __future__ import annotations

from functools import cache
from typing import Any

from hpo.train.data import Data

# scikit-learn takes a second to import, which a task with data of its own need not wait for.


def digits(*, image: bool = False) -> Data:
    """Returns 1,797 handwritten digits of 8x8 pixels, in 10 classes.

    Args:
        image: Whether a sample is of shape [1, 8, 8] instead of [64].

    Returns:
        Pixels from 0 to 1. Source: Alpaydin and Kaynak 1998, UCI optical recognition of
        handwritten digits, its test part.
    """
    x, y = _load("load_digits")
    pixels = x / 16.0
    return Data.split(pixels.reshape(-1, 1, 8, 8) if image else pixels, y)


def breast_cancer() -> Data:
    """Returns 569 tumours with 30 measurements, in 2 classes: malignant and benign.

    The features are standardised by the training rows.
    """
    return _standardised("load_breast_cancer")


def wine() -> Data:
    """Returns 178 wines with 13 measurements, in 3 classes, standardised by the training rows."""
    return _standardised("load_wine")


def iris() -> Data:
    """Returns 150 flowers with 4 measurements, in 3 classes, standardised by the training rows."""
    return _standardised("load_iris")


def diabetes() -> Data:
    """Returns 442 patients with 10 measurements; a regression of the disease's progression.

    The features are standardised by the training rows; the targets are from 25 to 346.
    """
    return _standardised("load_diabetes")


def _standardised(loader: str) -> Data:
    from sklearn.preprocessing import StandardScaler

    x, y = _load(loader)
    return Data.split(x, y, preprocess=StandardScaler())


@cache
def _load(loader: str) -> tuple[Any, Any]:
    from sklearn import datasets

    x, y = getattr(datasets, loader)(return_X_y=True)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y
