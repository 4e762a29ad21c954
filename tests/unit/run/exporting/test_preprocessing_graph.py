"""Preprocessing as modules of PyTorch computes what scikit-learn and the table encoder compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from hpo.run.exporting.preprocessing_graph import (
    TableInputs,
    UnsupportedPreprocessingError,
    array_inputs,
    known_categories,
    units_of,
)
from hpo.tasks.tables.standard_units import StandardUnits
from hpo.tasks.tables.table_encoding import TableEncoder

X = np.random.RandomState(0).normal(5, 3, (40, 4))


@pytest.mark.parametrize(
    "transformer",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        RobustScaler(),
        MaxAbsScaler(),
        MinMaxScaler((-1, 1), clip=True),
        PCA(2, whiten=True),
        make_pipeline(SimpleImputer(strategy="median"), "passthrough", StandardScaler()),
    ],
    ids=str,
)
def test_scalers_of_scikit_learn(transformer: Any) -> None:
    fitted = transformer.fit(X[:30])
    found = array_inputs(fitted)(torch.from_numpy(X))
    np.testing.assert_allclose(found.numpy(), fitted.transform(X), rtol=1e-12, atol=1e-12)


def test_missing_numbers_are_filled_in() -> None:
    x = X.copy()
    x[::3, 1] = np.nan
    imputer = SimpleImputer().fit(x)
    found = array_inputs(imputer)(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), imputer.transform(x))


class Own:
    def fit(self, x: Any, y: Any) -> Own:
        return self

    def transform(self, x: Any) -> Any:
        return x

    def inverse_target(self, y: Any) -> Any:
        return np.exp(y)


@pytest.mark.parametrize(
    "preprocess",
    [QuantileTransformer(n_quantiles=5).fit(X), SimpleImputer(add_indicator=True).fit(X), Own()],
)
def test_what_has_no_module_is_named(preprocess: Any) -> None:
    with pytest.raises(UnsupportedPreprocessingError, match=type(preprocess).__name__):
        array_inputs(preprocess)


def test_units_of_targets() -> None:
    standard = StandardUnits()
    standard.fit_target(np.array([1.0, 3.0]))
    assert units_of(standard) == (2.0, 1.0)
    assert units_of(StandardScaler()) is None
    with pytest.raises(UnsupportedPreprocessingError, match=r"Own\.inverse_target"):
        units_of(Own())


def test_encoders_of_folds_share_their_categories() -> None:
    frame = pd.DataFrame(
        {
            "size": [1.0, np.nan, 3.0, 400.0] * 5,
            "none": np.nan,
            "town": ["Aa", "Bb", None, "Aa"] * 4 + ["Bb", "Cc", "Dd", "Ee"],
        }
    )
    encoders = [
        TableEncoder(["size", "none"], ["town"]).fit(frame.iloc[rows], np.arange(10.0))
        for rows in (slice(0, 10), slice(10, 20))
    ]
    known = known_categories(encoders)
    numbers = torch.tensor(frame[["size", "none"]].to_numpy())
    texts = frame["town"].fillna("(missing)")
    codes = [known["town"].index(t) if t in known["town"] else len(known["town"]) for t in texts]
    for encoder in encoders:
        found = TableInputs(encoder.fitted, known)(numbers, torch.tensor(codes)[:, None])
        np.testing.assert_array_equal(found.numpy(), encoder.transform(frame))
