from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.ledger import budgets


def _spec(sampler: str = "random", **budget: float) -> StudySpec:
    return StudySpec(
        name="s",
        task="digits-mlp",
        metric="val_accuracy",
        sampler=sampler,
        space={"width": {"choices": [16, 32]}, "depth": {"low": 1, "high": 3}},
        budget=budget,
    )


@pytest.mark.parametrize(
    ("n_trials", "n_started", "n_wanted", "n"),
    [(None, 100, 3, 3), (10, 0, 3, 3), (10, 8, 3, 2), (10, 10, 3, 0), (5, 10, 3, 0), (10, 0, 0, 0)],
)
def test_startable(n_trials: int | None, n_started: int, n_wanted: int, n: int) -> None:
    assert budgets.n_startable(n_trials, n_started, n_wanted) == n


@given(st.lists(st.integers(0, 30)), st.integers(-5, 100))
def test_shares_never_exceed_what_is_left(wants: list[int], left: int) -> None:
    given_out = budgets.shares(wants, left)
    assert sum(given_out) <= max(0, left)
    assert all(0 <= share <= want for share, want in zip(given_out, wants, strict=True))
    assert given_out == wants or sum(given_out) == max(0, left)


def test_shares_without_a_limit() -> None:
    assert budgets.shares([3, 0, 7], None) == [3, 0, 7]


def test_hours_become_a_deadline() -> None:
    created_at = datetime(2026, 1, 1)
    limits = budgets.limits(_spec(trials=3, hours=1.5), created_at)
    assert limits.deadline_at == created_at + timedelta(minutes=90)
    assert (limits.n_trials, limits.target, limits.total_epochs) == (3, None, None)
    assert budgets.limits(_spec(trials=3), created_at).deadline_at is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Budget(trials=3), Budget(trials=3), False),
        (Budget(trials=3), Budget(trials=4), True),
        (Budget(trials=3), Budget(trials=2), False),
        (Budget(trials=3), Budget(hours=1.0), True),
        (Budget(trials=3, hours=1.0), Budget(trials=3, hours=2.0), True),
        (Budget(trials=3, total_epochs=9), Budget(trials=3, total_epochs=10), True),
        (Budget(trials=3, target=0.5), Budget(trials=3, target=0.6), True),
        (Budget(trials=3, target=0.5), Budget(trials=3), True),
        (Budget(trials=3), Budget(trials=3, target=0.5), False),
    ],
)
def test_a_budget_grew(old: Budget, new: Budget, expected: bool) -> None:
    assert budgets.grew(old, new) is expected


def test_a_grid_has_no_more_trials_than_points() -> None:
    created_at = datetime(2026, 1, 1)
    assert budgets.limits(_spec("grid", trials=100), created_at).n_trials == 6
    assert budgets.limits(_spec("grid", hours=1.0), created_at).n_trials == 6
    assert budgets.limits(_spec("grid", trials=4), created_at).n_trials == 4
    assert budgets.limits(_spec("random", trials=100), created_at).n_trials == 100
