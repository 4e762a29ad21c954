"""A command is split into words once, and each trial's values are filled in afterwards."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.spec.command_line import CommandText, as_text, fill, fill_text, parse
from hpo.spec.values.findings import Findings
from hpo.spec.values.kinds import WRONG

PLAIN = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=12)


def _mistake(command: Any) -> str:
    findings = Findings(("command",))
    assert CommandText().read(command, findings) is WRONG
    (problem,) = findings.problems
    return problem.message


@pytest.mark.parametrize(
    ("command", "values", "words"),
    [
        ("python train.py --lr {lr}", {"lr": 1e-05}, ["python", "train.py", "--lr", "1e-05"]),
        ("t --lr={lr},x -o '{trial_dir}/a b'", {"lr": 3, "trial_dir": "/t 1"},
         ["t", "--lr=3,x", "-o", "/t 1/a b"]),
        ("t '{{\"lr\": {lr}}}' {{}}", {"lr": 0.1}, ["t", '{"lr": 0.1}', "{}"]),
        ("t ''", {}, ["t", ""]),
        ("t --tag {tag}", {"tag": ""}, ["t", "--tag", ""]),
        ("t {on:--on} {off:--off} x", {"on": True, "off": False}, ["t", "--on", "x"]),
        ("t {on}", {"on": True}, ["t", "true"]),
        ("t\n  --lr {lr}", {"lr": 1}, ["t", "--lr", "1"]),
        # A parameter that does not apply takes its option along, and no more than that.
        ("t --momentum {momentum} --lr 1", {}, ["t", "--lr", "1"]),
        ("t --momentum={momentum} x", {}, ["t", "x"]),
        ("t --lr=1 {momentum} x", {}, ["t", "--lr=1", "x"]),
        ("t --lr {lr} {momentum}", {"lr": 1}, ["t", "--lr", "1"]),
        ("t -a {a} -b {b} -c", {}, ["t", "-c"]),
    ],
)  # fmt: skip
def test_filled(command: str, values: dict[str, Any], words: list[str]) -> None:
    assert CommandText().read(command, Findings()) == command
    assert fill(command, values) == words


@given(st.lists(PLAIN, max_size=4), PLAIN)
def test_a_value_stays_one_argument_and_is_never_read_again(texts: list[str], value: str) -> None:
    literal = [shlex.quote(text.replace("{", "{{").replace("}", "}}")) for text in texts]
    command = shlex.join(["run"]) + " " + " ".join([*literal, "--x={x}", "{x}"])
    assert fill(command, {"x": value}) == ["run", *texts, f"--x={value}", value]


@given(st.floats(allow_nan=False) | st.integers())
def test_numbers_keep_every_digit(value: float) -> None:
    assert type(value)(as_text(value)) == value


def test_text_is_filled_whole() -> None:
    assert fill_text("{trial_dir}/run {seed}.csv", {"trial_dir": "/t", "seed": 3}) == "/t/run 3.csv"
    with pytest.raises(KeyError):
        fill_text("{lr}", {})


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (3, "must be text; found 3"),
        (" ", "must name a program"),
        ("'' a", "must name a program"),
        ("t 'a", "cannot be split into words: no closing quotation"),
        ("t {lr", 'has a single brace in "{lr"; literal braces are written {{ and }}'),
        ("t {lr!r}", "{lr} takes no conversion and no format; literal braces are written"),
        ("t {lr:{x}}", "{lr} takes no conversion and no format; literal braces are written"),
        ("t \x1b[1m", r'must be printable; found "t \u001b[1m"'),
        ("t" * 10_001, "must be at most 10,000 characters long"),
    ],
)
def test_mistakes(command: Any, message: str) -> None:
    assert message in _mistake(command)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    findings = Findings()
    if CommandText().read(text, findings) is WRONG:
        assert len(findings.problems) == 1
    else:
        assert parse(text)[0]
