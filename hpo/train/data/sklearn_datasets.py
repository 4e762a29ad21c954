"""Data sets that come with scikit-learn: nothing is downloaded."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hpo.errors import TaskError
from hpo.train.data.dataset import Data, Preprocess

# scikit-learn takes a second to import, which a task with data of its own need not wait for.


def digits(*, image: bool = False, rows: bool = False) -> Data:
    """Returns 1,797 handwritten digits of 8x8 pixels, in 10 classes.

    Args:
        image: Whether a sample is of shape [1, 8, 8] instead of [64].
        rows: Whether it is a sequence of its rows instead, of shape [8, 8].

    Returns:
        Pixels from 0 to 1. Source: Alpaydin and Kaynak 1998, UCI optical recognition of
        handwritten digits, its test part.

    Raises:
        TaskError: Both are asked for.
    """
    if image and rows:
        raise TaskError("digits are images or rows, not both")
    x, y = _digits()
    shape = (1, 8, 8) if image else (8, 8) if rows else (64,)
    return Data.split((x / 16.0).reshape(-1, *shape), y)


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


def diabetes(*, preprocess: Preprocess | None = None) -> Data:
    """Returns 442 patients with 10 measurements; a regression of the disease's progression.

    The targets are from 25 to 346.

    Args:
        preprocess: Instead of standardising the features by the training rows.
    """
    return _standardised("load_diabetes", preprocess)


def _standardised(loader: str, preprocess: Preprocess | None = None) -> Data:
    from sklearn.preprocessing import StandardScaler

    x, y = _load(loader)
    return Data.split(x, y, preprocess=preprocess or StandardScaler())


@cache
def _digits() -> tuple[Any, Any]:
    package = find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            # What load_digits does, without the second that it takes to import scikit-learn.
            table = np.loadtxt(file, delimiter=",")
            table.setflags(write=False)
            return table[:, :-1], table[:, -1].astype(np.int64)
    return _load("load_digits")


@cache
def _load(loader: str) -> tuple[Any, Any]:
    from sklearn import datasets

    x, y = getattr(datasets, loader)(return_X_y=True)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y
