"""A command as it is typed: its arguments say what is searched."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import SpecError
from hpo.spec.command_line import fill
from hpo.spec.shell_notation import read_arguments


@pytest.mark.parametrize(
    ("arguments", "command", "parameter"),
    [
        ("--lr '~log(1e-4, 1e-1)'", "--lr {lr}", {"low": 1e-4, "high": 0.1, "log": True}),
        ("--lr '~loguniform(1, 10)'", "--lr {lr}", {"low": 1.0, "high": 10.0, "log": True}),
        ("--lr='~uniform(0, 1)'", "--lr={lr}", {"low": 0.0, "high": 1.0}),
        ("--lr '~uniform(0, 1, step=0.5)'", "--lr {lr}", {"low": 0.0, "high": 1.0, "step": 0.5}),
        ("'--lr~uniform(1, 2, discrete=True)'", "--lr {lr}", {"low": 1, "high": 2}),
        ("'lr=~interval(-1, 1)'", "lr={lr}", {"low": -1.0, "high": 1.0}),
        ("-lr '~int(1, 64, log=true)'", "-lr {lr}", {"low": 1, "high": 64, "log": True}),
        ("--lr '~int(0, 8, step=2)'", "--lr {lr}", {"low": 0, "high": 8, "step": 2}),
        ("--lr '~choice(sgd, \"a b\", 2, true)'", "--lr {lr}",
         {"choices": ["sgd", "a b", 2, True]}),
        ("--lr '~choices([32, 64])'", "--lr {lr}", {"choices": [32, 64]}),
        ("--lr '~flag'", "{lr:--lr}", {"choices": [True, False]}),
    ],
)  # fmt: skip
def test_notation(arguments: str, command: str, parameter: dict[str, Any]) -> None:
    written = read_arguments(shlex.split(f"python train.py {arguments}"))
    assert written.command == f"python train.py {command}"
    assert written.space == {"lr": parameter}
    assert {key: type(value) for key, value in written.space["lr"].items()} == {
        key: type(value) for key, value in parameter.items()
    }


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("--batch-size", "batch_size"),
        ("--optimizer.lr", "optimizer_lr"),
        ("+model/depth=", "model_depth"),
        ("--lambda", "lambda_"),
        ("--epochs", "epochs_"),
        ("--items", "items_"),
    ],
)
def test_a_parameter_is_called_after_its_option(argument: str, name: str) -> None:
    value = "~int(1, 2)"
    words = [f"{argument}{value}"] if argument.endswith("=") else [argument, value]
    assert list(read_arguments(["t", *words]).space) == [name]


def test_other_arguments_stay_as_they_are() -> None:
    words = ["t", "~/data", "~me", "x~log(1)", "a b", "{trial_dir}/{seed}", "--lr", "~log(1, 2)"]
    written = read_arguments(words)
    values = {"trial_dir": "/t", "seed": 3, "lr": 1.5}
    filled = fill(written.command, values)
    assert filled == ["t", "~/data", "~me", "x~log(1)", "a b", "/t/3", "--lr", "1.5"]
    assert "{trial_dir}/{seed}" in written.command


@pytest.mark.parametrize(
    ("arguments", "mistakes"),
    [
        ("--lr '~lgo(1, 2)'", ["--lr ~lgo(1, 2): there is no ~lgo; did you mean ~log?"]),
        ("--lr '~int(1)'", ["--lr ~int(1): needs two bounds, such as ~int(1, 4); found 1"]),
        ("--lr '~log'", ["--lr ~log: needs values, such as ~log(1e-4, 1e-1)"]),
        ("--lr=~log", ["--lr=~log: needs values, such as ~log(1e-4, 1e-1)"]),
        (
            "x '~log(1, 2)'",
            ["x ~log(1, 2): has no name: write it after an option, or as NAME=~..."],
        ),
        (
            "--lr '~log(0, 1)' -d '~int(1, 2, stp=1)' -d '~int(1, 2)'",
            [
                "-d ~int(1, 2): is the second argument that makes a parameter d",
                "--lr ~log(0, 1): log = true needs low > 0; low is 0.0",
                "-d ~int(1, 2, stp=1): stp unknown key; did you mean step?",
            ],
        ),
        ("--x '~choice(a b)'", ["--x ~choice(a b): cannot be read; write it as ~choice(32, 64"]),
        ("--x '~choice(f(1))'", ["--x ~choice(f(1)): cannot be read; write it as ~choice(32, 64"]),
        ("--x '~choice()'", ["--x ~choice(): choices must not be an empty list"]),
    ],
)
def test_mistakes_are_shown_at_their_arguments(arguments: str, mistakes: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        read_arguments(shlex.split(f"t {arguments}"))
    found = [f"{problem.key}: {problem.message}" for problem in caught.value.problems]
    assert len(found) == len(mistakes)
    assert all(one.startswith(start) for one, start in zip(found, mistakes, strict=True)), found


def test_a_command_without_a_range_is_told_what_to_write() -> None:
    with pytest.raises(SpecError, match="nothing to search: write a range") as caught:
        read_arguments(["python", "train.py", "--lr", "0.1"])
    assert "--lr '~log(1e-4, 1e-1)'" in str(caught.value.hint)


@given(st.lists(st.text(max_size=20) | st.from_regex(r"--a ~?\w*\([^()]*\)"), max_size=4))
def test_any_arguments_are_read_or_refused(arguments: list[str]) -> None:
    # Whatever is not understood is a mistake, and no other exception.
    with contextlib.suppress(SpecError):
        assert read_arguments(["t", *arguments]).space
