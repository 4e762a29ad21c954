"""Columns to the inputs of a network."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.tasks.tables.table_encoding import TableEncoder

NUMBERS = pd.DataFrame({"a": [1.0, 2.0, 3.0, np.nan], "b": [5.0, 5.0, 5.0, 5.0]})
TEXT = pd.DataFrame({"c": ["x", "x", "y", "y", np.nan, np.nan, "once"]}, dtype=object)


def fit(frame: pd.DataFrame, y: Any = None) -> TableEncoder:
    numeric = [c for c in frame.columns if frame[c].dtype.kind == "f"]
    categorical = [c for c in frame.columns if c not in numeric]
    targets = np.zeros(len(frame), dtype=np.int64) if y is None else np.asarray(y)
    return TableEncoder(numeric, categorical).fit(frame, targets)


def test_numbers_are_standardised_with_a_mark_where_they_were_missing() -> None:
    encoded = fit(NUMBERS).transform(NUMBERS)
    assert encoded.dtype == np.float32
    assert encoded.shape == (4, 3)
    assert np.allclose(encoded.mean(0), 0, atol=1e-6)
    assert encoded[3, 0] == pytest.approx(0)
    assert encoded[3, 2] > 1 > 0 > encoded[0, 2]


def test_far_away_numbers_are_cut_off() -> None:
    encoder = fit(NUMBERS)
    assert encoder.transform(pd.DataFrame({"a": [1e30], "b": [-1e30]})).max() == 10


def test_a_column_without_any_number_among_the_training_rows() -> None:
    encoder = fit(pd.DataFrame({"a": [1.0, 2.0], "b": [np.nan, np.nan]}))
    assert np.isfinite(encoder.transform(pd.DataFrame({"a": [1.0], "b": [7.0]}))).all()


def test_categories_missing_ones_and_rare_ones() -> None:
    encoder = fit(TEXT)
    encoded = encoder.transform(TEXT)
    assert encoder.n_features == encoded.shape[1] == 4
    assert encoded.sum(1).tolist() == [1] * 7
    assert encoded[4].tolist() == encoded[5].tolist()
    unseen = encoder.transform(pd.DataFrame({"c": ["never seen"]}, dtype=object))
    assert unseen.tolist() == [encoded[6].tolist()]


def test_unseen_categories_without_a_rare_one() -> None:
    encoder = fit(TEXT.iloc[:6])
    unseen = encoder.transform(pd.DataFrame({"c": ["never seen"]}, dtype=object))
    assert unseen.tolist() == [[0, 0, 0]]


def test_many_categories_are_limited() -> None:
    values = [f"v{i % 100}" for i in range(1000)]
    assert fit(pd.DataFrame({"c": values}, dtype=object)).n_features == 32


def test_targets_of_a_regression_in_standard_units() -> None:
    y = np.array([10.0, 20.0, 30.0, 40.0])
    encoder = fit(NUMBERS, y)
    scaled = encoder.transform_target(y)
    assert scaled.mean() == pytest.approx(0, abs=1e-6)
    assert scaled.std() == pytest.approx(1)
    assert encoder.target_mean == 25
    assert encoder.target_scale == pytest.approx(11.18, abs=0.01)


def test_fitting_again_forgets_the_first_rows() -> None:
    encoder = fit(TEXT)
    encoder.fit(TEXT.iloc[:4], np.zeros(4, dtype=np.int64))
    assert encoder.n_features == 2
