"""Which rows go into which split: pure decisions, the same on every machine."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpo.errors import TaskError

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
    if val_fraction + test_fraction >= 1:
        raise TaskError(
            "val_fraction + test_fraction must be below 1; "
            f"found {val_fraction:g} + {test_fraction:g}"
        )
    least = 3 if test_fraction else 2
    if n < least:
        raise TaskError(f"the data has {n} row{'s' * (n != 1)}; a split needs at least {least}")
    # RandomState, because NumPy promises that its numbers stay the same in future versions.
    order = np.random.RandomState(seed).permutation(n)
    if strata is not None:
        groups = [order[strata[order] == stratum] for stratum in np.unique(strata)]
        counts = _counts([len(group) for group in groups], val_fraction, test_fraction)
        n_val, n_test = (sum(column) for column in zip(*counts, strict=True))
        if n_val and (n_test or not test_fraction):
            return _assignment(groups, counts)
        logger.warning("the classes are too small for a stratified split; split without strata")
    # Within what leaves a row for each of the other splits.
    n_test = min(max(1, round(n * test_fraction)), n - 2) if test_fraction else 0
    n_val = min(max(1, round(n * val_fraction)), n - n_test - 1)
    return _assignment([order], [(n_val, n_test)])


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
