"""Splits of any data: whole, disjoint, repeatable, as large as asked for."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from hpo.errors import TaskError
from hpo.train.data.arrays import as_targets
from hpo.train.data.split_assignment import assign_by_order, assign_groups, assign_rows

fractions = st.floats(0.01, 0.6)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.slow
@given(
    strata=st.lists(st.integers(0, 6), min_size=3, max_size=200),
    val=fractions,
    test=st.one_of(st.just(0.0), fractions),
    seed=seeds,
    is_stratified=st.booleans(),
)
def test_every_row_is_in_one_split(
    strata: list[int], val: float, test: float, seed: int, is_stratified: bool
) -> None:
    assume(val + test < 0.95)
    n = len(strata)
    classes = np.array(strata) if is_stratified else None
    rows, again = (
        assign_rows(n, val_fraction=val, test_fraction=test, seed=seed, strata=classes)
        for _ in range(2)
    )
    together = np.concatenate([rows.train, rows.val, rows.test])
    assert sorted(together.tolist()) == list(range(n))
    assert all(len(part) for part in (rows.train, rows.val))
    assert bool(len(rows.test)) == bool(test)
    assert rows.val.tolist() == again.val.tolist()
    assert len(rows.val) <= np.ceil(n * val) + len(set(strata))
    if not is_stratified:
        assert abs(len(rows.val) - n * val) <= 1


@given(strata=st.lists(st.integers(0, 4), min_size=30, max_size=300), val=fractions, seed=seeds)
def test_strata_share_to_within_a_row(strata: list[int], val: float, seed: int) -> None:
    classes = np.array(strata)
    counts = np.bincount(classes)
    assume((counts[counts > 0] >= 5).all())
    rows = assign_rows(len(strata), val_fraction=val, test_fraction=0.2, seed=seed, strata=classes)
    in_val = np.bincount(classes[rows.val], minlength=len(counts))
    in_train = np.bincount(classes[rows.train], minlength=len(counts))
    assert (in_train[counts > 0] >= 1).all()
    assert (in_val <= np.ceil(counts * val)).all()
    assert (in_val >= np.floor(counts * val) - 1).all()


@given(st.lists(st.one_of(st.integers(-50, 50), st.text(max_size=3)), min_size=1, max_size=50))
def test_classes_are_numbered_without_gaps(values: list[int | str]) -> None:
    y = np.array(values, dtype=object)
    if len({str(value) for value in values}) == 1:
        with pytest.raises(TaskError, match="two classes at least"):
            as_targets(y, "classification")
        return
    targets = as_targets(y, "classification")
    assert targets.y.unique().tolist() == list(range(len(targets.classes)))
    assert [targets.classes[code] for code in targets.y.tolist()] == [str(v) for v in values]
    assert targets.y.dtype == torch.int64


@given(
    order=st.lists(st.integers(0, 30), min_size=3, max_size=150),
    val=fractions,
    test=st.one_of(st.just(0.0), fractions),
)
def test_what_is_measured_comes_later(order: list[int], val: float, test: float) -> None:
    assume(val + test < 0.95)
    assume(len(set(order)) >= 3)
    values = np.array(order)
    rows = assign_by_order(values, val_fraction=val, test_fraction=test)
    together = np.concatenate([rows.train, rows.val, rows.test])
    assert sorted(together.tolist()) == list(range(len(order)))
    assert values[rows.train].max() < values[rows.val].min()
    assert bool(len(rows.test)) == bool(test)
    if test:
        assert values[rows.val].max() < values[rows.test].min()
    if len(set(order)) == len(order):
        assert abs(len(rows.val) - len(order) * val) <= 1
        assert abs(len(rows.test) - len(order) * test) <= 1


@given(
    groups=st.lists(st.integers(0, 40), min_size=3, max_size=200),
    val=fractions,
    test=st.one_of(st.just(0.0), fractions),
    seed=seeds,
)
def test_no_group_is_in_two_splits(groups: list[int], val: float, test: float, seed: int) -> None:
    assume(val + test < 0.95)
    assume(len(set(groups)) >= 3)
    values = np.array(groups)
    rows, again = (
        assign_groups(values, val_fraction=val, test_fraction=test, seed=seed) for _ in range(2)
    )
    assert rows.val.tolist() == again.val.tolist()
    together = np.concatenate([rows.train, rows.val, rows.test])
    assert sorted(together.tolist()) == list(range(len(groups)))
    parts = [set(values[part]) for part in (rows.train, rows.val, rows.test)]
    assert sum(map(len, parts)) == len(set(groups))
    assert [bool(part) for part in parts] == [True, True, bool(test)]
