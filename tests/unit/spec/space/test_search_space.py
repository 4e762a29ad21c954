"""Dimensions, conditions and spaces as Python code makes them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from hpo.errors import SpecError
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, SearchSpace

OPTIMIZER = Categorical(["sgd", "adam", "adamw"])


def test_dimensions_take_their_values_by_place() -> None:
    assert Float(1e-4, 1.0, True) == Float(low=1e-4, high=1.0, log=True)
    assert Int(1, 9, False, 2, {"a": 1}) == Int(1, 9, step=2, when={"a": [1]})
    assert Categorical([32, "full"]).choices == (32, "full")
    assert Fixed("sgd").value == "sgd"


def test_conditions_become_tuples() -> None:
    one = Float(0.8, 0.9, when={"optimizer": "adam"})
    several = Float(0.8, 0.9, when={"optimizer": ["adam", "adamw"]})
    assert one.when == {"optimizer": ("adam",)}
    assert several.when == {"optimizer": ("adam", "adamw")}


WRONG: list[tuple[type[Any], list[Any], dict[str, Any], str]] = [
    (Float, [0.0, 1.0], {"log": True}, "Float: log = true needs low > 0; low is 0.0"),
    (Int, [1.0, 4], {}, "Int.low: must be a whole number; found 1.0"),
    (Int, [1, 4], {"step": -1}, "Int: step must be above 0; step is -1"),
    (Categorical, ["abc"], {}, 'Categorical.choices: must be a list of values; found "abc"'),
    (Fixed, [None], {}, "Fixed: value is missing"),
    (Fixed, ["\ud800"], {}, 'Fixed.value: must be text, a number, true or false; found "\\ud800"'),
    (
        SearchSpace,
        [{"a b": 1}],
        {},
        '"a b": must be a Python name, as it is read by params.name',
    ),
    (SearchSpace, [[1]], {}, ": must be a table of parameters; found [1]"),
]


@pytest.mark.parametrize(("cls", "args", "kwargs", "line"), WRONG)
def test_wrong_ones_are_refused_at_once(
    cls: type[Any], args: list[Any], kwargs: dict[str, Any], line: str
) -> None:
    with pytest.raises(SpecError) as caught:
        cls(*args, **kwargs)
    (problem,) = caught.value.problems
    assert f"{problem.key}: {problem.message}" == line


def test_none_is_no_bound() -> None:
    with pytest.raises(SpecError, match="low is missing"):
        Float(None, 1.0)  # type: ignore[arg-type]


def test_a_space_reads_tables_and_bare_values() -> None:
    space = SearchSpace(
        {
            "whole": {"low": 1, "high": 4},
            "real": {"low": 1, "high": 4.0},
            "stepped": {"low": 0, "high": 1, "step": 0.25},
            "choice": {"choices": [1, 2]},
            "bare": True,
            "fixed": {"value": 0.9, "when": {"choice": 2}},
            "ready": OPTIMIZER,
        }
    )
    assert space["whole"] == Int(1, 4)
    assert space["real"] == Float(1.0, 4.0)
    assert space["stepped"] == Float(0.0, 1.0, step=0.25)
    assert space["choice"] == Categorical([1, 2])
    assert space["bare"] == Fixed(True)
    assert space["fixed"] == Fixed(0.9, when={"choice": 2})
    assert space["ready"] is OPTIMIZER
    assert space.names == tuple(space)
    assert len(space) == 7
    assert "bare" in space
    assert "other" not in space


def test_numbers_of_numpy_become_plain_ones() -> None:
    space = SearchSpace({"a": {"low": np.int64(1), "high": np.int64(3)}, "b": np.float32(0.5)})
    assert type(space["a"].to_table()["low"]) is int  # type: ignore[index]
    assert type(space["b"].to_table()) is float
    choices: Any = [np.int64(3)]
    assert type(Categorical(choices).choices[0]) is int


def test_values_keep_their_types() -> None:
    choices = Categorical([True, 2, 3.0, "4"]).choices
    assert [type(choice) for choice in choices] == [bool, int, float, str]


def test_spaces_survive_pickle_and_copy() -> None:
    space = SearchSpace({"optimizer": OPTIMIZER, "depth": Int(1, 4, when={"optimizer": "sgd"})})
    assert pickle.loads(pickle.dumps(space)) == space
    assert copy.deepcopy(space) == space


def test_spaces_are_immutable() -> None:
    with pytest.raises(Exception, match="frozen"):
        OPTIMIZER.choices = ()


def test_order_keeps_that_of_the_file_where_it_can() -> None:
    space = SearchSpace(
        {
            "a": 1,
            "child": Fixed(1, when={"parent": 1}),
            "b": 1,
            "parent": Fixed(1, when={"root": 1}),
            "c": 1,
            "root": 1,
            "d": 1,
        }
    )
    assert space.order() == ("a", "b", "c", "root", "parent", "child", "d")


def test_a_child_of_an_inactive_parent_is_inactive() -> None:
    space = SearchSpace(
        {
            "optimizer": OPTIMIZER,
            "schedule": Categorical(["cosine", "constant"], when={"optimizer": "sgd"}),
            "warmup": Int(1, 3, when={"schedule": "cosine"}),
        }
    )
    assert space.is_active("optimizer", {})
    assert space.is_active("warmup", {"optimizer": "sgd", "schedule": "cosine"})
    assert not space.is_active("warmup", {"optimizer": "sgd", "schedule": "constant"})
    assert not space.is_active("warmup", {"optimizer": "sgd"})
    # Enqueued params may hold a value that does not apply.
    assert not space.is_active("warmup", {"optimizer": "adam", "schedule": "cosine"})


def test_all_conditions_must_hold() -> None:
    both = Fixed(1, when={"a": [1, 2], "b": True})
    space = SearchSpace({"a": Int(1, 3), "b": Categorical([True, False]), "both": both})
    assert space.is_active("both", {"a": 2, "b": True})
    assert not space.is_active("both", {"a": 3, "b": True})
    # 1 is not true, though Python says that they are equal.
    assert not space.is_active("both", {"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("parameter", "inside", "outside"),
    [
        (Float(0.1, 0.9), [0.1, 0.5, 0.9], [0.0, 1, True, "0.5", None]),
        (Float(0.1, 0.9, step=0.2), [0.1, 0.3, 0.7], [0.2, 0.8]),
        (Int(2, 8, step=3), [2, 5, 8, 5.0], [3, 2.5, True, "2"]),
        (Categorical([1, "full"]), [1, 1.0, "full"], [True, 2, "1"]),
        (Fixed(False), [False], [0, True]),
    ],
)
def test_contains(parameter: Any, inside: list[Any], outside: list[Any]) -> None:
    assert all(parameter.contains(value) for value in inside)
    assert not any(parameter.contains(value) for value in outside)


def test_a_long_chain_of_conditions_is_ordered() -> None:
    n = 3000
    chain = {f"p{i}": Fixed(1, when={f"p{i + 1}": 1}) for i in range(n)}
    space = SearchSpace({**chain, f"p{n}": 1})
    assert space.order() == tuple(f"p{i}" for i in range(n, -1, -1))
    assert space.is_active("p0", dict.fromkeys(space, 1))
