"""What a target column asks for."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import SpecError
from hpo.tasks.tables.target_column import read_target


def read(values: Any, kind: str = "auto") -> Any:
    return read_target(pd.Series(values, name="y"), kind)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"] * 10, "classification"),
        ([True, False] * 10, "classification"),
        ([0, 1] * 3, "classification"),
        ([0.0, 1.0] * 3, "classification"),
        ([1, 2, 3] * 10, "classification"),
        ([1, 2, 3] * 9, "regression"),
        (list(range(21)) * 20, "regression"),
        ([0.5, 1.0] * 10, "regression"),
        (["1.5", "2.5", "3.5"] * 10, "regression"),
        (pd.array([1, 2, 3] * 10, dtype="Int64"), "classification"),
    ],
)
def test_kind_by_the_values(values: Any, kind: str) -> None:
    assert read(values).kind == kind


def test_kind_as_told() -> None:
    assert read([1, 2, 3] * 10, "regression").values.dtype == np.float64
    assert read([0.5, 1.5] * 10, "classification").kind == "classification"
    assert read([True, False] * 10, "classification").values.tolist()[:2] == ["True", "False"]


@pytest.mark.parametrize(
    ("values", "kind", "key", "message"),
    [
        (["a"] * 20, "auto", "target", "y is a in every row"),
        ([3] * 20, "regression", "target", "y is 3 in every row"),
        (
            range(20),
            "classification",
            "target",
            '20 classes in 20 rows, too many; set kind = "regr',
        ),
        ([f"n{i}" for i in range(20)], "auto", "target", "too many; is it the right column?"),
        (["1", "2", "x", "4"], "regression", "target", "numbers for a regression; found x"),
        ([1.0, 2.0, float("inf")], "regression", "target", "found inf"),
        (pd.date_range("2024-01-01", periods=9), "auto", "target", "y holds dates"),
        ([[1], [2], [3]], "auto", "target", "must hold one value a row"),
        ([1, 2] * 9, "regresion", "kind", "must be auto, classification or regression; found 'reg"),
    ],
)
def test_wrong_targets(values: Any, kind: str, key: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(values, kind)
    (problem,) = caught.value.problems
    assert problem.key == f"task_options.{key}"
    assert message in problem.message
