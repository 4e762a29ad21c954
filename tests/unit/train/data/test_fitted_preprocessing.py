"""Fitted preprocessing as plain values: what comes back transforms to the last digit alike."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
)

from hpo.errors import TaskError
from hpo.tasks.tables.standard_units import StandardUnits
from hpo.tasks.tables.table_encoding import TableEncoder
from hpo.train.data.fitted_preprocessing import decode, encode

X = np.random.RandomState(0).lognormal(size=(50, 3))
Y = np.arange(50.0)
TABLE = pd.DataFrame(X, columns=list("abc")).assign(t=["u", "v"] * 25)


class Halved:
    """Preprocessing of a user's own."""

    def fit(self, x: Any, y: Any) -> Halved:
        self.scaler = StandardScaler().fit(x)
        self.shift = {"by": (1, 2.5)}
        return self

    def transform(self, x: Any) -> Any:
        return self.scaler.transform(x) / 2 + self.shift["by"][1]


def through_a_file(plain: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize(
    ("preprocess", "x"),
    [
        (StandardScaler(), X),
        (PCA(2), X),
        (FunctionTransformer(np.log1p), X),
        (QuantileTransformer(n_quantiles=10), X),
        (StandardUnits(), X),
        (Halved(), X),
        (TableEncoder(["a", "b"], ["t"]), TABLE),
        (
            ColumnTransformer(
                [
                    ("n", make_pipeline(SimpleImputer(add_indicator=True), PCA(1)), ["a", "b"]),
                    ("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["t"]),
                ]
            ),
            TABLE,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_comes_back_as_it_was(preprocess: Any, x: Any) -> None:
    preprocess.fit(x, Y)
    expected = preprocess.transform(x)
    kept = through_a_file(encode(preprocess))
    # Fitting it to other rows changes nothing of what is kept.
    preprocess.fit(x[:20], Y[:20])
    found = decode(kept)
    assert np.array_equal(found.transform(x), expected)
    if hasattr(found, "inverse_target"):
        assert found.inverse_target(np.array([1.0]))[0] == pytest.approx(Y.mean() + Y.std())


@pytest.mark.parametrize(
    ("preprocess", "module", "x"),
    [
        (StandardUnits(), "hpo.tasks.units", X),
        (TableEncoder(["a", "b"], ["t"]), "hpo.tasks.encoding", TABLE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_files_that_name_a_module_as_it_was_called_can_be_read(
    preprocess: Any, module: str, x: Any
) -> None:
    preprocess.fit(x, Y)
    kept = encode(preprocess)
    assert kept is not None
    assert kept["module"] != module
    found = decode(through_a_file({**kept, "module": module}))
    assert np.array_equal(found.transform(x), preprocess.transform(x))


@pytest.mark.parametrize("function", [lambda x: x, pd.DataFrame])
def test_code_cannot_be_kept(function: Any) -> None:
    kept = encode(FunctionTransformer(function).fit(X))
    assert kept is not None
    assert list(kept) == ["unkept"]


@pytest.mark.parametrize(
    "plain",
    [
        {"kind": "object", "module": "subprocess", "class": "Popen", "state": {}},
        {"kind": "object", "module": "sklearn.utils", "class": "Bunch", "state": {}},
        {"kind": "object", "module": "not_here", "class": "Scaler", "state": {}},
        {"kind": "ufunc", "name": "load"},
        {"kind": "call", "name": "system"},
    ],
)
def test_files_name_no_other_code(plain: Any) -> None:
    with pytest.raises(TaskError, match="the model's preprocessing"):
        decode(plain)
