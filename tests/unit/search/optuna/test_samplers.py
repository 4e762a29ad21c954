"""The grid: every point of a finite space, exactly once."""

from __future__ import annotations

import itertools

import optuna
import pytest

from hpo.errors import SpecError
from hpo.search.optuna.samplers import GridSampler
from hpo.spec.space.finite_space import grid_points
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, SearchSpace


def _space(**parameters: object) -> SearchSpace:
    return SearchSpace.model_validate({"parameters": parameters})


def test_points_are_the_product_of_all_values() -> None:
    space = _space(
        depth=Int(low=1, high=3),
        width=Categorical(choices=(32, 64)),
        dropout=Float(low=0.0, high=0.5, step=0.25),
        optimizer=Fixed(value="sgd"),
    )
    points = grid_points(space)
    expected = {
        (depth, width, dropout, "sgd")
        for depth, width, dropout in itertools.product((1, 2, 3), (32, 64), (0.0, 0.25, 0.5))
    }
    names = ("depth", "width", "dropout", "optimizer")
    assert {tuple(point[name] for name in names) for point in points} == expected
    assert len(points) == len(expected)


def test_a_conditional_parameter_multiplies_only_where_it_applies() -> None:
    space = _space(
        optimizer=Categorical(choices=("sgd", "adam")),
        momentum=Categorical(choices=(0.0, 0.9), when={"optimizer": ("sgd",)}),
    )
    assert grid_points(space) == [
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "adam"},
    ]


def test_an_integer_range_that_the_step_does_not_divide_ends_at_the_last_reached_value() -> None:
    assert [p["n"] for p in grid_points(_space(n=Int(low=1, high=6, step=2)))] == [1, 3, 5]


def test_a_continuous_parameter_has_no_grid() -> None:
    with pytest.raises(SpecError, match=r"needs a step for space\.learning_rate"):
        grid_points(_space(learning_rate=Float(low=1e-4, high=1.0)))


def test_a_huge_grid_is_refused_before_it_fills_memory() -> None:
    choices = Int(low=1, high=1000)
    with pytest.raises(SpecError, match="more than 1,000,000 points"):
        grid_points(_space(a=choices, b=choices, c=choices))


def test_trials_visit_every_point_once_whatever_their_order() -> None:
    space = _space(a=Int(low=1, high=3), b=Categorical(choices=("x", "y")))
    study = optuna.create_study(sampler=GridSampler(space))
    trials = [study.ask() for _ in range(6)]
    seen = {
        (trial.suggest_int("a", 1, 3), trial.suggest_categorical("b", ("x", "y")))
        for trial in reversed(trials)
    }
    assert seen == set(itertools.product((1, 2, 3), ("x", "y")))
