"""Table encoder: columns of a table to inputs of a network, fitted to the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from hpo.tasks.tables.standard_units import TargetUnits

_MISSING: Final = "(missing)"
_MAX_CATEGORIES: Final = 32
# A category of a single training row does not generalise.
_MIN_ROWS: Final = 2
# In standard deviations. Otherwise a row far outside of the training range would dominate the loss.
_FURTHEST: Final = 10.0


@dataclass(frozen=True)
class FittedEncoding:
    """What an encoder has learnt from training rows.

    Attributes:
        numeric: Columns of numbers; the encoder's first inputs, in this order.
        medians: For missing numbers, one a column; NaN where the training rows had none.
        marked: Columns that had missing numbers; each has an indicator behind the numbers.
        means: Of numbers and indicators.
        scales: Their standard deviations.
        categories: Categories of each column of text that have an input of their own.
        has_rest: Whether its other categories share one more.
        furthest: Largest absolute value of an input.
    """

    numeric: tuple[str, ...]
    medians: tuple[float, ...]
    marked: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    categories: Mapping[str, tuple[str, ...]]
    has_rest: Mapping[str, bool]
    furthest: float = _FURTHEST


class TableEncoder(TargetUnits):
    """Encodes rows as numbers, and standardises the targets of a regression.

    Numbers are standardised; missing ones are imputed by the median, with an indicator column.
    Text is one-hot encoded; rare categories share a column, and missing is a category. The fitted
    state is plain numbers and text, so that a model's file can hold it.

    Args:
        numeric: Columns of numbers.
        categorical: Columns of text.

    Attributes:
        target_mean: Mean of the training targets of a regression; 0 for classes.
        target_scale: Their standard deviation; 1 for classes.
        n_features: Inputs of the network; 0 before ``fit``.
    """

    def __init__(self, numeric: list[str], categorical: list[str]) -> None:
        super().__init__()
        self._numeric = list(numeric)
        self._categorical = list(categorical)
        self._medians: list[float] = []
        self._marked: list[str] = []
        self._means: list[float] = []
        self._scales: list[float] = []
        self._categories: dict[str, list[str]] = {}
        self._has_rest: dict[str, bool] = {}
        self.n_features = 0

    def fit(self, x: DataFrame, y: NDArray[Any]) -> TableEncoder:
        """Fits medians, scales and categories to training rows.

        Args:
            x: Rows with the named columns; others are ignored.
            y: Targets of shape [N]: floats for a regression.
        """
        if self._numeric:
            self._fit_numbers(x)
        if self._categorical:
            self._fit_categories(x)
        n_each = [len(self._categories[c]) + self._has_rest[c] for c in self._categorical]
        self.n_features = len(self._means) + sum(n_each)
        if y.dtype.kind == "f":
            self.fit_target(y)
        return self

    @property
    def fitted(self) -> FittedEncoding:
        """What it has learnt."""
        return FittedEncoding(
            numeric=tuple(self._numeric),
            medians=tuple(self._medians),
            marked=tuple(self._marked),
            means=tuple(self._means),
            scales=tuple(self._scales),
            categories={name: tuple(self._categories[name]) for name in self._categorical},
            has_rest={name: self._has_rest[name] for name in self._categorical},
        )

    def transform(self, x: DataFrame) -> NDArray[np.float32]:
        """Returns the inputs of a network, of shape [N, n_features]."""
        parts = [self._numbers(x), *(self._one_hot(x, name) for name in self._categorical)]
        encoded = np.concatenate(parts, axis=1)
        return np.asarray(np.clip(encoded, -_FURTHEST, _FURTHEST), dtype=np.float32)

    def _fit_numbers(self, x: DataFrame) -> None:
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import StandardScaler

        values = _floats(x, self._numeric)
        imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(values)
        self._medians = imputer.statistics_.tolist()
        self._marked = [c for i, c in enumerate(self._numeric) if np.isnan(values[:, i]).any()]
        scaler = StandardScaler().fit(self._filled(x))
        self._means, self._scales = scaler.mean_.tolist(), scaler.scale_.tolist()

    def _fit_categories(self, x: DataFrame) -> None:
        from sklearn.preprocessing import OneHotEncoder

        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=_MIN_ROWS,
            max_categories=_MAX_CATEGORIES,
        )
        encoder.fit(np.column_stack([_texts(x, name) for name in self._categorical]))
        rare_ones = encoder.infrequent_categories_
        found = zip(self._categorical, encoder.categories_, rare_ones, strict=True)
        for name, categories, rare in found:
            left_out = set() if rare is None else set(rare.tolist())
            self._categories[name] = [c for c in categories.tolist() if c not in left_out]
            self._has_rest[name] = rare is not None

    def _filled(self, x: DataFrame) -> NDArray[np.float64]:
        """Returns imputed numbers, and an indicator for each column with missing training values.

        A column without any number in the training rows is 0.
        """
        values = _floats(x, self._numeric)
        medians = np.array(self._medians)
        filled = np.where(np.isnan(values), medians, values)
        filled[:, np.isnan(medians)] = 0.0
        return np.hstack([filled, np.isnan(_floats(x, self._marked)).astype(np.float64)])

    def _numbers(self, x: DataFrame) -> NDArray[np.float64]:
        if not self._numeric:
            return np.empty((len(x), 0))
        return np.asarray((self._filled(x) - np.array(self._means)) / np.array(self._scales))

    def _one_hot(self, x: DataFrame, name: str) -> NDArray[np.float64]:
        categories = self._categories[name]
        places: Mapping[str, int] = {category: i for i, category in enumerate(categories)}
        # An unknown category is all zeros, or rare if there are rare ones.
        codes = np.array([places.get(text, len(categories)) for text in _texts(x, name)], dtype=int)
        columns = np.arange(len(categories) + self._has_rest[name])
        return np.asarray(codes[:, None] == columns, dtype=np.float64)


def _floats(x: DataFrame, names: list[str]) -> NDArray[np.float64]:
    return np.asarray(x[names].to_numpy(dtype=np.float64))


def _texts(x: DataFrame, name: str) -> NDArray[Any]:
    return np.asarray(x[name].fillna(_MISSING).to_numpy(dtype=object))
