"""Points as rows of numbers, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpo.search.base.param_encoding import Encoder
from hpo.spec.space.search_space import SearchSpace

SPACE = SearchSpace(
    {
        "rate": {"low": 1e-4, "high": 1.0, "log": True},
        "depth": {"low": 1, "high": 5},
        "share": {"low": 0.1, "high": 0.7, "step": 0.2},
        "kind": {"choices": ["sgd", "adam", "lion"]},
        "momentum": {"low": 0.0, "high": 0.9, "when": {"kind": "sgd"}},
        "nesterov": {"choices": [True, False], "when": {"kind": "sgd"}},
        "fixed": 3,
        "always": {"low": 0, "high": 1, "when": {"fixed": 3}},
    }
)
ENCODER = Encoder.of_space(SPACE)
SGD = {
    "rate": 1e-2,
    "depth": 3,
    "share": 0.5,
    "kind": "sgd",
    "momentum": 0.9,
    "nesterov": False,
    "always": 1,
}
ADAM = {"rate": 1.0, "depth": 1, "share": 0.1, "kind": "adam", "always": 0}


def test_points_come_back_as_they_were() -> None:
    decoded = ENCODER.decode(ENCODER.snap(np.nan_to_num(ENCODER.encode([SGD, ADAM]), nan=0.5)))
    for found, point in zip(decoded, (SGD, ADAM), strict=True):
        assert found == pytest.approx(point)
        assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in point.items()}


def test_coordinates_follow_the_scale() -> None:
    row = dict(zip(ENCODER.names, ENCODER.encode([SGD])[0], strict=True))
    assert row["rate"] == pytest.approx(0.5)
    assert row["depth"] == pytest.approx(0.5)
    assert row["kind"] == 0
    assert math.isnan(dict(zip(ENCODER.names, ENCODER.encode([ADAM])[0], strict=True))["momentum"])


def test_whole_numbers_own_cells_of_equal_width() -> None:
    encoder = Encoder.of_space(SearchSpace({"n": {"low": 1, "high": 4}}))
    values = [p["n"] for p in encoder.decode(encoder.snap(np.linspace(0, 0.999, 400)[:, None]))]
    assert [values.count(n) for n in (1, 2, 3, 4)] == [100, 100, 100, 100]


def test_what_does_not_apply_is_left_out_with_its_children() -> None:
    space = SearchSpace(
        {
            "model": {"choices": ["mlp", "linear"]},
            "depth": {"low": 1, "high": 3, "when": {"model": "mlp"}},
            "skip": {"choices": [True, False], "when": {"depth": [2, 3]}},
        }
    )
    encoder = Encoder.of_space(space)
    rows = encoder.snap(np.array([[1.0, 0.9, 0.0], [0.0, 0.0, 0.0], [0.0, 0.9, 1.0]]))
    assert encoder.decode(rows) == [
        {"model": "linear"},
        {"model": "mlp", "depth": 1},
        {"model": "mlp", "depth": 3, "skip": False},
    ]


def test_values_outside_of_the_space_have_no_coordinate() -> None:
    rows = ENCODER.encode([{"rate": 2.0, "depth": 9, "kind": "rmsprop", "nesterov": 3}])
    assert np.isnan(rows).all()


def test_features_set_choices_apart_and_numbers_that_do_not_apply_in_the_middle() -> None:
    features = ENCODER.features(ENCODER.encode([SGD, ADAM]))
    by_owner = {name: features[:, ENCODER.owners == j] for j, name in enumerate(ENCODER.names)}
    assert np.linalg.norm(by_owner["kind"][0] - by_owner["kind"][1]) == pytest.approx(1.0)
    assert by_owner["momentum"][1, 0] == 0.5
    assert (by_owner["nesterov"][1] == 0.0).all()


def test_keys_are_shared_by_the_same_points_only() -> None:
    keys = ENCODER.keys(ENCODER.encode([SGD, ADAM, SGD, {**SGD, "momentum": 0.0}]))
    assert keys[0] == keys[2]
    assert len(set(keys)) == 3


def test_a_wide_linear_range_is_covered_more_densely_below() -> None:
    space = SearchSpace({"decay": {"low": 1e-5, "high": 0.1}, "rate": {"low": 0.0, "high": 0.1}})
    encoder = Encoder.of_space(space)
    points = encoder.decode(encoder.snap(encoder.stretched(np.full((1, 2), 0.5))))
    assert points[0]["decay"] == pytest.approx(0.0125, rel=0.01)
    assert points[0]["rate"] == pytest.approx(0.05)


def test_the_number_of_points_is_known_where_it_is_finite() -> None:
    space = SearchSpace({"a": {"choices": [1, 2, 3]}, "b": {"low": 0.0, "high": 1.0, "step": 0.25}})
    assert Encoder.of_space(space).n_points == 15
    assert ENCODER.n_points == math.inf
