"""Whatever the space and the history: decisions are legal, and follow from what is known alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.search.base.curves import Curves, State
from hpo.search.base.decisions import Ask, Plan
from hpo.search.base.distributions import complete
from hpo.search.base.history import History, ObservedTrial
from hpo.search.base.param_encoding import Encoder
from hpo.search.schedulers.registry import make_scheduler
from hpo.spec.space.search_space import Categorical, Fixed, Float, SearchSpace
from hpo.spec.study_spec import StudySpec

EPOCHS = 9
SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
METHODS = st.sampled_from(["freeze-thaw", "asha", "bohb", "none"])


@st.composite
def spaces(draw: st.DrawFn, finite: bool = False) -> SearchSpace:
    """Draws a space of numbers and choices, some of which depend on the first choice."""
    table: dict[str, Any] = {"kind": {"choices": ["a", "b", "c"][: draw(st.integers(2, 3))]}}
    for i in range(draw(st.integers(1, 3))):
        low = draw(st.integers(1, 5))
        forms: list[dict[str, Any]] = [
            {"low": low, "high": low + draw(st.integers(1, 4))},
            {"choices": draw(st.lists(st.integers(0, 9), min_size=2, max_size=4, unique=True))},
            {"low": 0.0, "high": 1.0, "step": 0.25},
        ]
        if not finite:
            forms += [
                {"low": -1.0, "high": float(low)},
                {"low": 1e-5, "high": 0.1, "log": True},
                {"low": 1, "high": 1000, "log": True},
            ]
        form = draw(st.sampled_from(forms))
        if draw(st.booleans()):
            form["when"] = {"kind": "a"}
        table[f"x{i}"] = form
    if draw(st.booleans()):
        table["fixed"] = 3
    return SearchSpace(table)


def _spec(space: SearchSpace, method: str, seed: int) -> StudySpec:
    return StudySpec(
        name="s",
        task="digits-mlp",
        metric="val_loss" if seed % 2 else "val_accuracy",
        budget={"trials": 500, "epochs": EPOCHS},
        space=space,
        sampler="auto",
        pruner=method,
        seed=seed,
    )


def _rows(spec: StudySpec, n: int) -> list[ObservedTrial]:
    """Returns a history of trials in all states, with points that the search itself proposed."""
    scheduler, rng = make_scheduler(spec), random.Random(n)
    history = History(Encoder.of_space(spec.space), EPOCHS, maximize=True)
    points = scheduler.propose(history.curves(), range(n), Ask(n)).points
    rows = []
    for number, point in enumerate(points):
        state = rng.choice([State.RUNNING, State.PAUSED, State.COMPLETE, State.PRUNED])
        n_epochs = EPOCHS if state == State.COMPLETE else rng.randint(1, EPOCHS - 1)
        values = {epoch: rng.random() + epoch / EPOCHS for epoch in range(1, n_epochs + 1)}
        final = values[EPOCHS] if state == State.COMPLETE else None
        rows.append(ObservedTrial(number, state, point or {}, values, n_epochs, final))
    return rows


def _curves(spec: StudySpec, rows: Sequence[ObservedTrial]) -> Curves:
    maximize = spec.directions[0] == "maximize"
    history = History(Encoder.of_space(spec.space), EPOCHS, maximize)
    for row in rows:
        history.put(row)
    return history.curves()


def _plan(spec: StudySpec, curves: Curves, n: int) -> Plan:
    return make_scheduler(spec).plan(curves, Ask(n))


def _check_point(point: dict[str, Any], space: SearchSpace) -> None:
    searched = {n for n in space.order() if not isinstance(space[n], Fixed)}
    whole = complete(point, space)
    assert whole is not None
    assert set(point) == {name for name in whole if name in searched}
    for name, value in point.items():
        assert space[name].contains(value)
        assert isinstance(value, float) == isinstance(space[name], Float) or isinstance(
            space[name], Categorical
        )


@pytest.mark.slow
@SLOW
@given(spaces(), METHODS, st.integers(0, 9), st.integers(0, 40), st.integers(1, 12))
def test_points_lie_in_the_space_and_conditions_hold(
    space: SearchSpace, method: str, seed: int, n_known: int, n: int
) -> None:
    spec = _spec(space, method, seed)
    plan = _plan(spec, _curves(spec, _rows(spec, n_known)), n)
    assert len(plan.assignments) <= n
    for start in plan.starts:
        assert start.params is not None
        _check_point(dict(start.params), space)
        assert 1 <= start.epoch_stop <= EPOCHS


@pytest.mark.slow
@SLOW
@given(spaces(), METHODS, st.integers(0, 9), st.integers(0, 40), st.integers(1, 12))
def test_only_paused_trials_go_on_each_once_and_forwards(
    space: SearchSpace, method: str, seed: int, n_known: int, n: int
) -> None:
    spec = _spec(space, method, seed)
    curves = _curves(spec, _rows(spec, n_known))
    plan = _plan(spec, curves, n)
    numbers = [advance.number for advance in plan.advances]
    assert len(set(numbers)) == len(numbers)
    for advance in plan.advances:
        row = curves.rows_of([advance.number])[0]
        assert curves.states[row] == State.PAUSED
        assert curves.epochs[row] < advance.epoch_stop <= EPOCHS
    assert [start.number for start in plan.starts] == list(
        range(curves.next_number, curves.next_number + len(plan.starts))
    )


@pytest.mark.slow
@SLOW
@given(spaces(finite=True), METHODS, st.integers(0, 9), st.integers(0, 30), st.integers(1, 40))
def test_no_point_of_a_discrete_space_is_tried_twice(
    space: SearchSpace, method: str, seed: int, n_known: int, n: int
) -> None:
    spec = _spec(space, method, seed)
    rows = _rows(spec, n_known)
    plan = _plan(spec, _curves(spec, rows), n)
    points = [dict(row.params) for row in rows]
    points += [dict(start.params or {}) for start in plan.starts]
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)


@pytest.mark.slow
@SLOW
@given(spaces(), METHODS, st.integers(0, 9), st.integers(10, 40), st.randoms(use_true_random=False))
def test_neither_the_order_of_reports_nor_repeating_them_matters(
    space: SearchSpace, method: str, seed: int, n_known: int, rng: random.Random
) -> None:
    spec = _spec(space, method, seed)
    rows = _rows(spec, n_known)
    first = _curves(spec, rows)
    history = History(Encoder.of_space(space), EPOCHS, spec.directions[0] == "maximize")
    reports = [(row, epoch) for row in rows for epoch in row.values] * 2
    rng.shuffle(reports)
    for row in rng.sample(rows, len(rows)):
        history.put(ObservedTrial(row.number, row.state, row.params, {}, row.epoch_stop, row.final))
    for row, epoch in reports:
        history.report(row.number, epoch, row.values[epoch])
    second = history.curves()
    for name in ("numbers", "states", "epochs", "targets", "values", "finals", "points"):
        assert np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True)
    assert _plan(spec, first, 3) == _plan(spec, second, 3)
