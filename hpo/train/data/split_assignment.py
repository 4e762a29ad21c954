"""Split assignment: which rows go into which split, by pure decisions, equal everywhere."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpo.errors import TaskError
from hpo.train.data.arrays import missing

logger = logging.getLogger(__name__)

Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Assignment:
    """Row numbers of each split, ascending and disjoint; together they are all rows.

    Attributes:
        train: What models are fitted on, never empty.
        val: What trials are compared on, never empty.
        test: What only the best trial sees; empty when no test split was asked for.
    """

    train: Rows
    val: Rows
    test: Rows


def assign_rows(
    n: int,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    strata: NDArray[np.int64] | None = None,
) -> Assignment:
    """Assigns rows to splits at random.

    With strata every class gives each split its share, to within one row. A class keeps at least
    one row for training, so one with a single row is never measured; its share is made up for by
    no other class. Where that leaves a split empty, the strata are given up.

    Args:
        n: Number of rows.
        val_fraction: Share of all rows for validation, above 0.
        test_fraction: Share of all rows for testing; 0 for none.
        seed: From 0 to 2**32 - 1.
        strata: Class of each row, of shape [N]; None to draw from all rows alike.

    Raises:
        TaskError: The fractions leave nothing to train on, or there are too few rows.
    """
    n_val, n_test = _sizes(n, val_fraction, test_fraction)
    # RandomState, because NumPy promises that its numbers stay the same in future versions.
    order = np.random.RandomState(seed).permutation(n)
    if strata is not None:
        groups = [order[strata[order] == stratum] for stratum in np.unique(strata)]
        counts = _counts([len(group) for group in groups], val_fraction, test_fraction)
        is_in_val, is_in_test = (sum(column) for column in zip(*counts, strict=True))
        if is_in_val and (is_in_test or not test_fraction):
            return _assignment(groups, counts)
        logger.warning("the classes are too small for a stratified split; split without strata")
    return _assignment([order], [(n_val, n_test)])


def assign_by_order(order: Any, *, val_fraction: float, test_fraction: float) -> Assignment:
    """Assigns the last rows of an order to testing, and those before them to validation.

    What is measured lies in the future of what was trained on, as it will once the model is used.
    Rows of one value stay in one split, so that no day is cut in two.

    Args:
        order: What the rows are ordered by, of shape [N]: numbers, dates, or text that sorts.
        val_fraction: Share of all rows for validation, above 0.
        test_fraction: Share of all rows for testing; 0 for none.

    Raises:
        TaskError: The fractions leave nothing to train on, or too few values differ.
    """
    values = as_column("order", order)
    n_val, n_test = _sizes(len(values), val_fraction, test_fraction)
    rows = np.argsort(values, kind="stable")
    # A split may begin where a value is another than that before it.
    starts = np.flatnonzero(values[rows][1:] != values[rows][:-1]) + 1
    least = 2 if test_fraction else 1
    if len(starts) < least:
        raise TaskError(
            f"the rows have {len(starts) + 1} different values of order; "
            f"a split by order needs at least {least + 1}"
        )
    test_start = len(rows)
    if test_fraction:
        # One start is left for the validation rows.
        test_start = nearest(starts[1:], test_start - n_test)
        starts = starts[starts < test_start]
    val_start = nearest(starts, test_start - n_val)
    parts = rows[:val_start], rows[val_start:test_start], rows[test_start:]
    return Assignment(*map(np.sort, parts))


def assign_groups(
    groups: Any, *, val_fraction: float, test_fraction: float, seed: int
) -> Assignment:
    """Assigns whole groups of rows to splits at random, so that none is in two of them.

    The shares are met as nearly as the sizes of the groups allow.

    Args:
        groups: Group of each row, of shape [N], such as a patient or a machine.
        val_fraction: Share of all rows for validation, above 0.
        test_fraction: Share of all rows for testing; 0 for none.
        seed: From 0 to 2**32 - 1.

    Raises:
        TaskError: The fractions leave nothing to train on, or there are too few groups.
    """
    values = as_column("groups", groups)
    _sizes(len(values), val_fraction, test_fraction)
    _, group_of_row, sizes = np.unique(values, return_inverse=True, return_counts=True)
    shares = {"train": 1 - val_fraction - test_fraction, "val": val_fraction}
    shares |= {"test": test_fraction} if test_fraction else {}
    if len(sizes) < len(shares):
        raise TaskError(f"{len(sizes)} groups of rows are too few for {len(shares)} splits")
    filled = dict.fromkeys(shares, 0)
    split_of_group = np.empty(len(sizes), dtype="U5")
    order = np.random.RandomState(seed).permutation(len(sizes))
    for n_left, group in zip(range(len(sizes), 0, -1), order, strict=True):
        empty = [split for split in shares if not filled[split]]
        candidates = empty if n_left <= len(empty) else list(shares)
        fullness = {split: (filled[split] + sizes[group]) / shares[split] for split in candidates}
        split_of_group[group] = min(candidates, key=lambda split: fullness[split])
        filled[split_of_group[group]] += sizes[group]
    split_of_row = split_of_group[group_of_row]
    return Assignment(*(np.flatnonzero(split_of_row == name) for name in ("train", "val", "test")))


def _sizes(n: int, val_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Returns the number of validation and test rows, within what leaves some for each split."""
    if val_fraction + test_fraction >= 1:
        raise TaskError(
            "val_fraction + test_fraction must be below 1; "
            f"found {val_fraction:g} + {test_fraction:g}"
        )
    least = 3 if test_fraction else 2
    if n < least:
        raise TaskError(f"the data has {n} row{'s' * (n != 1)}; a split needs at least {least}")
    n_test = min(max(1, round(n * test_fraction)), n - 2) if test_fraction else 0
    return min(max(1, round(n * val_fraction)), n - n_test - 1), n_test


def nearest(starts: NDArray[np.int64], wanted: int) -> int:
    """Returns the start that is closest to the wanted one."""
    return int(starts[np.argmin(np.abs(starts - wanted))])


def as_column(name: str, values: Any) -> NDArray[Any]:
    """Returns one value a row, of shape [N]; dates as text that sorts.

    Raises:
        TaskError: There are more values a row, or some are missing.
    """
    column = np.asarray(values)
    if column.ndim != 1:
        raise TaskError(f"{name} must be one value a row; found the shape {list(column.shape)}")
    n_missing = int(missing(column).sum())
    if n_missing:
        raise TaskError(f"{n_missing} of {len(column)} values of {name} are missing")
    # Dates of pandas may come as objects; as text they keep their order.
    return column.astype(str) if column.dtype.kind == "O" else column


def _counts(sizes: list[int], val: float, test: float) -> list[tuple[int, int]]:
    """Returns how many rows of each class go into validation and test.

    Rounding carries over from class to class, so that the totals are right as well, even if every
    class alone would round to nothing.
    """
    counts: list[tuple[int, int]] = []
    seen = used_val = used_test = 0
    for size in sizes:
        seen += size
        n_val = min(round(seen * val) - used_val, math.ceil(size * val), size - 1)
        n_test = min(round(seen * test) - used_test, math.ceil(size * test), size - 1 - n_val)
        counts.append((max(0, n_val), max(0, n_test)))
        used_val += counts[-1][0]
        used_test += counts[-1][1]
    return counts


def _assignment(groups: list[Rows], counts: list[tuple[int, int]]) -> Assignment:
    val, test, train = [], [], []
    for group, (n_val, n_test) in zip(groups, counts, strict=True):
        val.append(group[:n_val])
        test.append(group[n_val : n_val + n_test])
        train.append(group[n_val + n_test :])
    return Assignment(*(np.sort(np.concatenate(parts)) for parts in (train, val, test)))
