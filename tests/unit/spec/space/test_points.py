"""Values for parameters as somebody types them."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.spec.space.points import read_point, read_scalar, split_entries
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.values.findings import Findings

SPACE = SearchSpace(
    {
        "rate": {"low": 0.0, "high": 1.0},
        "share": {"low": 0.0, "high": 1.0, "step": 0.25},
        "depth": {"low": 1, "high": 9, "step": 2},
        "size": {"choices": [32, "full", "64", True]},
        "kind": "mlp",
        "optimizer": {"choices": ["sgd", "adam"]},
        "beta": {"low": 0.5, "high": 0.9, "when": {"optimizer": "adam"}},
        "width": {"choices": [8, 16], "when": {"kind": "mlp"}},
    }
)


def _read(*entries: str) -> tuple[dict[str, Any], dict[str, str]]:
    findings = Findings()
    point = read_point(split_entries(entries, findings), SPACE, findings)
    return point, {problem.key: problem.message for problem in findings.problems}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("rate=1", 1.0),
        ("rate = 1e-3", 0.001),
        ("share=0.75", 0.75),
        ("depth=3", 3),
        ("depth=3.0", 3),
        ("size=32", 32),
        ("size=64", "64"),
        ("size=full", "full"),
        ("size=true", True),
        ("width=8", 8),
    ],
)
def test_right_values(entry: str, expected: Any) -> None:
    point, problems = _read(entry)
    assert problems == {}
    assert list(point.values()) == [expected]
    assert type(next(iter(point.values()))) is type(expected)


@pytest.mark.parametrize(
    ("entry", "key", "message"),
    [
        ("rte=1", "rte", "no such parameter; did you mean rate?"),
        ("rate", "rate", "must be NAME=VALUE"),
        ("rate=1.5", "rate", 'must be a number from 0.0 to 1.0; found "1.5"'),
        ("rate=nan", "rate", 'must be a number from 0.0 to 1.0; found "nan"'),
        ("rate=true", "rate", 'must be a number from 0.0 to 1.0; found "true"'),
        ("share=0.3", "share", 'must be a number from 0.0 to 1.0 in steps of 0.25; found "0.3"'),
        ("depth=2", "depth", 'must be a whole number from 1 to 9 in steps of 2; found "2"'),
        ("size=1", "size", 'must be 32, "full", "64" or true; found "1"'),
        ("kind=cnn", "kind", 'must be "mlp", it is fixed; found "cnn"'),
        ("beta=0.5", "beta", 'applies only when optimizer is "adam"; give optimizer, too'),
    ],
)
def test_wrong_values(entry: str, key: str, message: str) -> None:
    _, problems = _read(entry)
    assert list(problems.items()) == [(key, message)]


def test_every_mistake_is_found() -> None:
    _, problems = _read("rate=1", "rate=2", "beta=0.6", "optimizer=sgd", "depth=x")
    assert list(problems) == ["rate", "depth", "beta"]
    assert problems["rate"] == "stands twice"
    assert problems["beta"] == 'applies only when optimizer is "adam"; it is "sgd"'


def test_fixed_parameters_are_left_out_and_conditions_may_be_given() -> None:
    point, problems = _read("kind=mlp", "optimizer=adam", "beta=0.6")
    assert (point, problems) == ({"optimizer": "adam", "beta": 0.6}, {})


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1), ("1.0", 1.0), ("True", True), ("adam", "adam"), ("", "")]
)
def test_scalars(text: str, expected: Any) -> None:
    value = read_scalar(text)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    "entries",
    [
        ["rate=0.5", "kind=a b"],
        ["rate = 0.5", 'kind = "a b"'],
        ['rate = 0.5\nkind = "a b"\n'],
        ["rate", "=", "0.5", "kind", "=", '"a', 'b"'],
    ],
)
def test_what_best_prints_is_taken_as_it_is(entries: list[str]) -> None:
    findings = Findings()
    assert split_entries(entries, findings) == {"rate": "0.5", "kind": "a b"}
    assert not findings.problems


def test_a_missing_value_takes_no_other_entry() -> None:
    findings = Findings()
    assert split_entries(["rate=", "kind=a"], findings) == {"rate": "", "kind": "a"}
