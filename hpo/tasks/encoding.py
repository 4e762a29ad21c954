"""From the columns of a table to the inputs of a network, fitted on the training rows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from hpo.tasks.units import mean_and_scale

_MISSING: Final = "(missing)"
_MAX_CATEGORIES: Final = 32
# A category that a single training row has tells nothing about others.
_MIN_ROWS: Final = 2
# In standard deviations. A validation row far outside of what was trained on would else drown all.
_FURTHEST: Final = 10.0


class TableEncoder:
    """Turns rows into numbers, and the targets of a regression into standard units.

    Numbers: missing ones become the median, with a column that says so, and all are standardised.
    Text: a column for each category; rare ones share one, and missing is a category.

    Args:
        numeric: Columns of numbers.
        categorical: Columns of text.

    Attributes:
        target_mean: Mean of the training targets of a regression; 0 for classes.
        target_scale: Their standard deviation; 1 for classes.
        n_features: Inputs of the network; 0 before ``fit``.
    """

    def __init__(self, numeric: list[str], categorical: list[str]) -> None:
        self._numeric = numeric
        self._categorical = categorical
        self._transformer: Any = None
        self.target_mean = 0.0
        self.target_scale = 1.0
        self.n_features = 0

    def fit(self, x: DataFrame, y: NDArray[Any]) -> TableEncoder:
        """Learns medians, scales and categories from training rows.

        Args:
            x: With the columns that were named, others are ignored.
            y: Targets of shape [N]: floats for a regression.
        """
        # Made anew, so that fitting to other rows leaves nothing of these behind.
        self._transformer = _transformer(self._numeric, self._categorical)
        self._transformer.fit(self._prepared(x))
        self.n_features = self.transform(x.iloc[:1]).shape[1]
        if y.dtype.kind == "f":
            self.target_mean, self.target_scale = mean_and_scale(y)
        return self

    def transform(self, x: DataFrame) -> NDArray[np.float32]:
        """Returns the inputs of a network, of shape [N, n_features]."""
        encoded = self._transformer.transform(self._prepared(x))
        return np.asarray(np.clip(encoded, -_FURTHEST, _FURTHEST), dtype=np.float32)

    def transform_target(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the targets of a regression with mean 0 and deviation 1 on the training rows."""
        return np.asarray((y - self.target_mean) / self.target_scale, dtype=np.float32)

    def inverse_target(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns numbers in standard units in those of the targets."""
        return np.asarray(y * self.target_scale + self.target_mean, dtype=np.float32)

    def _prepared(self, x: DataFrame) -> DataFrame:
        prepared = x[[*self._numeric, *self._categorical]].copy()
        # Not by keywords: a column may be called anything, self as well.
        prepared[self._categorical] = prepared[self._categorical].fillna(_MISSING)
        return prepared


def _transformer(numeric: list[str], categorical: list[str]) -> ColumnTransformer:
    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    categories = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=_MIN_ROWS,
        max_categories=_MAX_CATEGORIES,
        sparse_output=False,
    )
    return ColumnTransformer(
        [("numeric", numbers, numeric), ("categorical", categories, categorical)],
        sparse_threshold=0,
    )
