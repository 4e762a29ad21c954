"""One point of a search space."""

from __future__ import annotations

import copy
import pickle

import pytest

from hpo.spec.space.params import Params


def test_values_are_attributes_and_items() -> None:
    params = Params({"depth": 2, "optimizer": "sgd"})
    assert params.depth == params["depth"] == 2
    assert params.get("width", 64) == 64
    assert "depth" in params
    assert "width" not in params
    assert dict(params) == params.asdict() == {"depth": 2, "optimizer": "sgd"}
    assert repr(params) == "Params(depth=2, optimizer='sgd')"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    params = Params({"depth": 2})
    with pytest.raises(AttributeError, match="the params have no dept; did you mean depth"):
        _ = params.dept
    with pytest.raises(KeyError):
        params["dept"]


def test_params_are_immutable() -> None:
    params = Params({"depth": 2})
    with pytest.raises(AttributeError, match="immutable"):
        params.depth = 3
    params.asdict()["depth"] = 3
    assert params.depth == 2


def test_they_remember_what_was_read() -> None:
    params = Params({"depth": 2, "width": 64, "dropout": 0.1})
    params.asdict()
    assert params.read == frozenset()
    assert params.depth == 2
    assert params["width"] == 64
    assert params.get("momentum", 0.9) == 0.9
    assert params.read == {"depth", "width", "momentum"}


def test_defaults_fill_what_is_missing() -> None:
    params = Params({"depth": 2}).with_defaults({"depth": 9, "width": 64})
    assert params == Params({"width": 64, "depth": 2})


def test_what_is_read_with_defaults_counts_as_read() -> None:
    params = Params({"depth": 2, "momentum": 0.9})
    filled = params.with_defaults({"width": 64})
    assert (filled.depth, filled.width) == (2, 64)
    assert params.read == filled.read == {"depth", "width"}


def test_equal_params_have_one_hash() -> None:
    assert hash(Params({"a": 1, "b": 2})) == hash(Params({"b": 2.0, "a": 1}))


def test_params_survive_pickle_and_copy() -> None:
    params = Params({"depth": 2})
    assert pickle.loads(pickle.dumps(params)) == params
    assert copy.deepcopy(params) == params
