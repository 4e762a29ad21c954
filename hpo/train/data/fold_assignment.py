"""Fold assignment: which rows go into which fold, by pure decisions, the same on every machine.

Each fold has the same test rows as a single split would have. The others are validated on in turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import TaskError
from hpo.train.data.split_assignment import Assignment, Rows, as_column, nearest


def fold_rows(
    pool: Rows, test: Rows, n_folds: int, seed: int, strata: NDArray[np.int64] | None = None
) -> list[Assignment]:
    """Shares rows out at random; all folds train on as many.

    What is left over when the rows are divided is trained on in every fold.

    Args:
        pool: Rows to train and to validate on.
        test: Rows that only the best trial sees.
        n_folds: From 2.
        seed: From 0 to 2**32 - 1.
        strata: Class of every row, of shape [N]; each fold validates on its share of each class, to
            within one row. Source: Kohavi 1995, A study of cross-validation and bootstrap.

    Raises:
        TaskError: There are fewer rows than folds.
    """
    n_each = len(pool) // n_folds
    if not n_each:
        raise TaskError(f"{len(pool)} rows are too few for {n_folds} folds")
    order = np.random.RandomState(seed).permutation(pool)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    dealt = order[: n_each * n_folds]
    return [_fold(pool, dealt[fold::n_folds], test) for fold in range(n_folds)]


def fold_groups(pool: Rows, test: Rows, n_folds: int, seed: int, groups: Any) -> list[Assignment]:
    """Shares whole groups out, the largest first, each to the fold with the fewest rows.

    Args:
        pool: Rows to train and to validate on.
        test: Rows that only the best trial sees.
        n_folds: From 2.
        seed: From 0 to 2**32 - 1; decides between groups of one size.
        groups: Group of every row, of shape [N].

    Raises:
        TaskError: There are fewer groups than folds.
    """
    _, group_of_row, sizes = np.unique(
        as_column("groups", groups)[pool], return_inverse=True, return_counts=True
    )
    if len(sizes) < n_folds:
        raise TaskError(f"{len(sizes)} groups of rows are too few for {n_folds} folds")
    shuffled = np.random.RandomState(seed).permutation(len(sizes))
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    filled = np.zeros(n_folds, dtype=np.int64)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold_of_group[group] = filled.argmin()
        filled[fold_of_group[group]] += sizes[group]
    fold_of_row = fold_of_group[group_of_row]
    return [_fold(pool, pool[fold_of_row == fold], test) for fold in range(n_folds)]


def fold_by_order(pool: Rows, test: Rows, n_folds: int, order: Any) -> list[Assignment]:
    """Cuts ordered rows into blocks; each is validated on by what was trained on all before it.

    Rows of one value stay in one block.

    Args:
        pool: Rows to train and to validate on.
        test: Rows that only the best trial sees.
        n_folds: From 2; there is a block more.
        order: What the rows are ordered by, of shape [N].

    Raises:
        TaskError: Too few values differ.
    """
    values = as_column("order", order)[pool]
    ranks = np.argsort(values, kind="stable")
    rows, values = pool[ranks], values[ranks]
    starts = np.flatnonzero(values[1:] != values[:-1]) + 1
    if len(starts) < n_folds:
        raise TaskError(
            f"the rows have {len(starts) + 1} different values of order; {n_folds} folds need at "
            f"least {n_folds + 1}"
        )
    cuts = [0]
    for i in range(1, n_folds + 1):
        # Enough starts are left for the blocks to come.
        free = starts[(starts > cuts[-1])][: len(starts[starts > cuts[-1]]) - (n_folds - i)]
        cuts.append(nearest(free, len(rows) * i // (n_folds + 1)))
    ends = [*cuts[2:], len(rows)]
    return [
        Assignment(np.sort(rows[:begin]), np.sort(rows[begin:end]), test)
        for begin, end in zip(cuts[1:], ends, strict=True)
    ]


def _fold(pool: Rows, val: Rows, test: Rows) -> Assignment:
    return Assignment(np.setdiff1d(pool, val), np.sort(val), test)
