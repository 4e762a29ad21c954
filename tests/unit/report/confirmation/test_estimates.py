"""Estimates agree with SciPy's own statistics, and Holm's correction with its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hpo.report.confirmation.estimates import estimate, holm, paired

VALUES = st.lists(st.floats(0, 1).map(lambda x: round(x, 4)), min_size=2, max_size=20)
NOISE = np.random.default_rng(0).normal(0, 0.01, (2, 7))
FIRST, SECOND = 0.95 + NOISE[0], 0.945 + NOISE[1]


@given(VALUES)
def test_an_interval_is_that_of_scipy(values: list[float]) -> None:
    found = estimate(values)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    if len(set(values)) > 1:
        low, high = stats.t.interval(0.95, len(values) - 1, found.mean, stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high))


def test_one_value_has_no_interval() -> None:
    found = estimate([0.5])
    assert found is not None
    assert (found.n, found.mean, found.std, found.low, found.high) == (1, 0.5, None, None, None)
    assert estimate([]) is None


def test_a_paired_test_is_that_of_scipy() -> None:
    found = paired(dict(enumerate(FIRST)), dict(enumerate(SECOND)))
    expected = stats.ttest_rel(FIRST, SECOND)
    assert found is not None
    assert found.n == 7
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(np.mean(FIRST - SECOND))


def test_only_seeds_that_both_have_are_pairs() -> None:
    first, second = dict(enumerate(FIRST)), dict(enumerate(SECOND))
    del first[0], second[6]
    found = paired(first, second)
    assert found is not None
    assert found.n == 5
    assert found.p == pytest.approx(stats.ttest_rel(FIRST[1:6], SECOND[1:6]).pvalue)
    assert paired({1: 0.5}, {2: 0.5}) is None


@pytest.mark.parametrize("difference", [0.0, 0.1])
def test_equal_differences_tell_nothing_of_noise(difference: float) -> None:
    first = {0: 0.1, 1: 0.2, 2: 0.3}
    found = paired({seed: value + difference for seed, value in first.items()}, first)
    assert found is not None
    assert found.difference == pytest.approx(difference)
    assert (found.p, found.low, found.high) == (None, None, None)


def test_holm_corrects_step_by_step() -> None:
    # By hand: sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, and never smaller than before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, None, 0.6]) == [1.0, None, 1.0]
    assert holm([]) == []
