"""Features and targets of any form as tensors."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from hpo.errors import TaskError
from hpo.train.data.arrays import as_features, as_targets

ROWS = [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    "x",
    [
        ROWS,
        np.array(ROWS),
        np.array(ROWS, dtype=np.uint8)[::1],
        np.array(ROWS)[::-1][::-1],
        torch.tensor(ROWS, dtype=torch.uint8),
        torch.tensor(ROWS, dtype=torch.float16),
        torch.tensor(ROWS, dtype=torch.float64, requires_grad=True),
        pd.DataFrame(ROWS),
        pd.DataFrame(ROWS).astype("Int64"),
        csr_matrix(ROWS),
    ],
    ids=lambda x: type(x).__name__,
)
def test_features_of_any_form(x: Any) -> None:
    features = as_features(x)
    assert features.dtype == torch.float32
    assert features.tolist() == ROWS
    assert not features.requires_grad


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_a_tensor_of_indices_keeps_whole_numbers(dtype: torch.dtype) -> None:
    features = as_features(torch.tensor(ROWS, dtype=dtype))
    assert features.dtype == torch.int64
    assert features.tolist() == ROWS
    assert as_features(torch.zeros(3, 1, 8, 8, dtype=dtype)).shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    "x",
    [
        (torch.ones(3, 2), torch.ones(3, 4)),
        [np.ones((3, 2)), np.ones((3, 1, 4, 4))],
        {"image": torch.ones(3, 2)},
    ],
)
def test_several_inputs_are_refused(x: Any) -> None:
    with pytest.raises(TaskError, match="must be one tensor, and these are several"):
        as_features(x)


def test_a_single_feature_becomes_a_column() -> None:
    assert as_features([1.0, 2.0]).shape == (2, 1)


def test_read_only_features() -> None:
    x = np.ones((2, 2))
    x.setflags(write=False)
    assert as_features(x).sum() == 4


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([["a", "b"]], "the features must be numbers"),
        ([[1], [1, 2]], "as many in each row"),
        ([[1.0, float("nan")]], "1 of the features are NaN .* row 0, column 1"),
        (torch.tensor([[1.0], [float("inf")]]), "row 1, column 0"),
        (pd.DataFrame({"a": [1], "town": ["x"]}), "not so column town"),
        (pd.DataFrame({"a": [1.0, None]}), "1 of the features are NaN"),
        (torch.ones(2, 2, dtype=torch.complex64), "real numbers"),
        (3.0, "one row a sample"),
    ],
)
def test_wrong_features(x: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        as_features(x)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["b", "a", "b"], ("a", "b")),
        ([3, 1, 3], ("1", "3")),
        ([True, False, True], ("False", "True")),
        (np.array([7, 2, 7], dtype=np.uint8), ("2", "7")),
        (np.array([[1], [0], [1]]), ("0", "1")),
        (torch.tensor([5, 4, 5]), ("4", "5")),
        (pd.Series(["y", "x", "y"]), ("x", "y")),
        (pd.Series(["y", "x", "y"], dtype="category"), ("x", "y")),
        (pd.Series([1, 0, 1], dtype="Int64"), ("0", "1")),
        (pd.DataFrame({"t": ["y", "x", "y"]}), ("x", "y")),
        (np.array([1, "x", 1], dtype=object), ("1", "x")),
    ],
)
def test_classes(y: Any, classes: tuple[str, ...]) -> None:
    targets = as_targets(y)
    assert targets.kind == "classification"
    assert targets.classes == classes
    assert targets.y.dtype == torch.int64
    assert len(set(targets.y.tolist())) == 2
    assert targets.y[0] == targets.y[2]


def test_order_of_number_classes_is_numeric() -> None:
    targets = as_targets([10, 9, 2])
    assert targets.classes == ("2", "9", "10")
    assert targets.y.tolist() == [2, 1, 0]


@pytest.mark.parametrize("y", [[0.5, 1.5], np.array([[1.0], [2.0]]), torch.rand(4)])
def test_real_numbers_are_a_regression(y: Any) -> None:
    targets = as_targets(y)
    assert targets.kind == "regression"
    assert targets.y.dtype == torch.float64
    assert targets.y.dim() == 1
    assert targets.classes == ()


def test_kind_decides() -> None:
    assert as_targets([1, 2, 3], "regression").y.tolist() == [1, 2, 3]
    assert as_targets([1.0, 2.0, 1.0], "classification").classes == ("1", "2")
    assert as_targets(np.ones((4, 2)), "regression").y.shape == (4, 2)


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (["a", "a"], None, "two classes at least; found one: a"),
        ([1.0, float("nan")], None, "1 of 2 targets are missing"),
        (["a", None], None, "1 of 2 targets are missing"),
        (pd.Series([1, None], dtype="Int64"), None, "missing"),
        (["a", "b"], "regression", "must be numbers"),
        ([1.0, float("inf")], None, "NaN or infinite"),
        ([1, 2], "regresion", "kind must be classification or regression"),
        (1.0, None, "one a sample"),
    ],
)
def test_wrong_targets(y: Any, kind: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        as_targets(y, kind)


def test_lost_digits_are_told_and_numbers_that_are_too_large_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = 1_700_000_000 + np.arange(50.0)[:, None]
    as_features(np.hstack([times - times.mean(), times]), "the times")
    assert "the times lose digits in single precision in column 1" in caplog.text
    caplog.clear()
    as_features(np.random.RandomState(0).normal(50, 10, (40, 2)), "the sizes")
    as_features(np.full((40, 1), 0.1), "the constants")
    assert not caplog.text
    with pytest.raises(TaskError, match=r"2 of the sums are too large .* such as 1e\+39"):
        as_features([1.0, 1e39, -1e40], "the sums")
