"""What each column of a table is to a model."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.tasks.columns import Columns, find_columns


def find(values: Any, name: str = "c", n: int = 30) -> Columns:
    """Finds one column beside another that is always of use."""
    other = np.random.RandomState(0).normal(size=n)
    series = pd.Series(values if len(values) == n else (list(values) * n)[:n])
    return find_columns(pd.DataFrame({name: series, "other": other}))


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        [1.5, float("nan"), 2.5],
        [True, False],
        [True, None, False],
        pd.array([1, None, 3] * 10, dtype="Int64"),
        pd.array([True, None, False] * 10, dtype="boolean"),
        pd.array([1.5, None, 3] * 10, dtype="float64[pyarrow]"),
        pd.to_timedelta([1, 2] * 15, unit="h"),
        ["1", "2.5", None],
        [1.0, float("inf")] + [2.0] * 3,
    ],
)
def test_numbers(values: Any) -> None:
    columns = find(values)
    assert columns.numeric == ["c", "other"]
    assert columns.frame["c"].dtype == np.float64
    assert not np.isinf(columns.frame["c"]).any()


@pytest.mark.parametrize(
    "values",
    [
        ["x", "y"],
        ["x", None],
        ["x", 1],
        pd.Categorical(["x", "y", None] * 10),
        pd.Categorical(["x", "y"] * 15),
        pd.array(["x", "y"] * 15, dtype="string[pyarrow]"),
        ["1,5", "x"],
    ],
)
def test_categories(values: Any) -> None:
    columns = find(values)
    assert columns.categorical == ["c"]
    assert {type(value) for value in columns.frame["c"].dropna()} == {str}


def test_text_is_stripped() -> None:
    assert set(find([" x", "x ", "y"]).frame["c"]) == {"x", "y"}


@pytest.mark.parametrize(
    "values",
    [
        pd.date_range("2024-01-01 05:00", periods=30, freq="33h"),
        pd.date_range("2024-01-01 05:00", periods=30, freq="33h", tz="Europe/Berlin"),
        [f"2024-{month:02}-{day:02}" for month in (1, 2) for day in range(1, 16)],
        ["2024-01-01", "9999-12-31", "2024-02-01"],
        [f"2024-01-{day:02}T{day % 24:02}:30:00Z" for day in range(1, 30)] + [None],
    ],
)
def test_dates_become_numbers(values: Any) -> None:
    columns = find(values)
    assert columns.numeric[:2] in (["c (day)", "c (month)"], ["c (day)", "c (weekday)"])
    assert not columns.categorical
    assert not columns.dropped


def test_text_that_only_looks_like_dates_is_text() -> None:
    assert find(["2024-13-45", "2024-01-01"]).categorical == ["c"]


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [
        ([None] * 30, "c", "is empty"),
        ([5] * 30, "c", "is the same in every row"),
        (["x"] * 30, "c", "is the same in every row"),
        (range(100, 130), "c", "counts the rows"),
        (range(30, 0, -1), "c", "counts the rows"),
        ([i * i for i in range(30)], "customer_id", "is an id"),
        ([f"k{i}" for i in range(30)], "ID", "is an id"),
        ([f"name {i}" for i in range(30)], "c", "is text of its own in nearly every row"),
        (["2024-01-01"] * 30, "c", "is the same in every row"),
        ([[1, 2]] * 30, "c", "holds values of type list"),
        ([1j] * 30, "c", "holds complex numbers"),
    ],
)
def test_columns_of_no_use(values: Any, name: str, reason: str) -> None:
    columns = find(values, name)
    assert columns.dropped == {name: reason}
    assert columns.numeric == ["other"]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([i * i for i in range(30)], "price"),
        ([1, 2, 3], "id"),
        ([f"name {i // 2}" for i in range(30)], "c"),
        ([5] * 29 + [None], "c"),
    ],
)
def test_columns_of_use(values: Any, name: str) -> None:
    assert find(values, name).dropped == {}


def test_a_counter_is_kept_where_nothing_else_is_there() -> None:
    columns = find_columns(pd.DataFrame({"x": range(50), "empty": [None] * 50}))
    assert columns.numeric == ["x"]
    assert columns.dropped == {"empty": "is empty"}


def test_no_column_of_use() -> None:
    columns = find_columns(pd.DataFrame({"x": [1] * 50}))
    assert columns.frame.empty
    assert find_columns(pd.DataFrame(index=range(3))).dropped == {}


def test_measurements_with_a_word_among_them_are_numbers() -> None:
    values = [*(i * i / 10 for i in range(40)), "-", "below 3"]
    columns = find(values, n=len(values))
    assert columns.numeric == ["c", "other"]
    assert columns.frame["c"].isna().sum() == 2


def test_few_numbers_with_a_word_among_them_are_categories() -> None:
    values = ["2", "3", "4", "5 or more", *["2"] * 96]
    assert find(values, n=len(values)).categorical == ["c"]
