"""Rows into splits: exact shares, every class trained on, clear errors."""

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import TaskError
from hpo.train.data.split_assignment import Assignment, assign_by_order, assign_groups, assign_rows

SHARES: dict[str, Any] = {"val_fraction": 0.2, "test_fraction": 0.2}


def assign(
    n: int, strata: list[int] | None = None, val: float = 0.2, test: float = 0.2, seed: int = 0
) -> Assignment:
    classes = None if strata is None else np.array(strata)
    return assign_rows(n, val_fraction=val, test_fraction=test, seed=seed, strata=classes)


def sizes(rows: Assignment) -> tuple[int, int, int]:
    return len(rows.train), len(rows.val), len(rows.test)


def test_sizes_are_the_fractions() -> None:
    assert sizes(assign(100)) == (60, 20, 20)
    assert sizes(assign(100, val=0.25, test=0.0)) == (75, 25, 0)
    assert sizes(assign(3)) == (1, 1, 1)
    assert sizes(assign(3, val=0.25, test=0.5)) == (1, 1, 1)
    assert sizes(assign(2, test=0.0)) == (1, 1, 0)


def test_strata_share_evenly() -> None:
    strata = [0] * 50 + [1] * 30 + [2] * 20
    rows = assign(100, strata)
    for part, expected in ((rows.train, [30, 18, 12]), (rows.val, [10, 6, 4])):
        assert np.bincount(np.array(strata)[part]).tolist() == expected


def test_small_classes_share_across_classes() -> None:
    """Twenty classes of two rows: each alone would round to no validation row."""
    rows = assign(40, [i // 2 for i in range(40)])
    n_train, n_val, n_test = sizes(rows)
    assert n_val == 8
    assert n_test == 8
    assert n_train == 24
    assert len({row // 2 for row in rows.train}) == 20


def test_a_class_of_one_row_is_trained_on() -> None:
    for seed in range(20):
        rows = assign(31, [0] * 15 + [1] * 15 + [2], seed=seed)
        assert 30 in rows.train


def test_single_rows_of_classes_do_not_starve_the_others() -> None:
    rows = assign(200, [0] * 100 + list(range(1, 101)))
    n_train = sum(row < 100 for row in rows.train)
    assert n_train >= 58


def test_strata_are_given_up_where_they_leave_a_split_empty(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        rows = assign(5, [0, 1, 2, 3, 4])
    assert sizes(rows) == (3, 1, 1)
    assert "without strata" in caplog.text


@pytest.mark.parametrize(
    ("n", "val", "test", "message"),
    [
        (2, 0.2, 0.2, "2 rows; a split needs at least 3"),
        (1, 0.2, 0.0, "1 row; a split needs at least 2"),
        (0, 0.2, 0.2, "0 rows"),
        (100, 0.6, 0.5, "must be below 1; found 0.6 [+] 0.5"),
    ],
)
def test_impossible_splits(n: int, val: float, test: float, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        assign(n, val=val, test=test)


def test_the_numbers_never_change() -> None:
    """Studies that go on with a later version must not see their test rows."""
    assert assign(10, seed=3).val.tolist() == [4, 5]
    assert assign(10, [0, 1] * 5, seed=3).test.tolist() == [1, 2]


@pytest.mark.parametrize(
    "order",
    [
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
        pd.Series(pd.date_range("2024-01-01", periods=10)[::-1]),
        pd.Series(pd.date_range("2024-01-01", periods=10, tz="UTC")[::-1]),
        [f"2024-01-{day:02}" for day in range(10, 0, -1)],
    ],
)
def test_the_last_rows_are_for_testing(order: Any) -> None:
    rows = assign_by_order(order, val_fraction=0.2, test_fraction=0.3)
    assert (rows.test.tolist(), rows.val.tolist()) == ([0, 1, 2], [3, 4])
    assert rows.train.tolist() == [5, 6, 7, 8, 9]


def test_no_day_is_cut_in_two() -> None:
    days = [1] * 5 + [2] * 4 + [3]
    rows = assign_by_order(days, val_fraction=0.2, test_fraction=0.2)
    assert sizes(rows) == (5, 4, 1)


def test_shares_of_groups_are_nearly_met() -> None:
    groups = np.arange(1000) // 10
    found = {
        tuple(assign_groups(groups, val_fraction=0.2, test_fraction=0.1, seed=seed).val)
        for seed in range(3)
    }
    assert len(found) == 3
    assert all(abs(len(val) - 200) <= 10 for val in found)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda: assign_by_order([1, 1, 2, 2], **SHARES), "2 different values .* least 3"),
        (lambda: assign_by_order([1.0, 2.0, np.nan], **SHARES), "1 of 3 values of order"),
        (lambda: assign_by_order([[1], [2], [3]], **SHARES), "one value a row; .* \\[3, 1\\]"),
        (lambda: assign_groups(["a", "a", "b"], **SHARES, seed=0), "2 groups .* for 3 splits"),
        (lambda: assign_groups(["a", None, "b"], **SHARES, seed=0), "1 of 3 values of groups"),
    ],
)
def test_impossible_orders_and_groups(split: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        split()
