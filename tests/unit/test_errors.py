"""What an error says, and with which exit code a command ends."""

from __future__ import annotations

import pytest

from hpo import errors
from hpo.errors import Problem, SpecError, did_you_mean, nearest


@pytest.mark.parametrize(
    ("name", "code"),
    [("HpoError", 1), ("SpecError", 2), ("StoreError", 3), ("TaskError", 4), ("LaunchError", 5)],
)
def test_exit_codes(name: str, code: int) -> None:
    error = getattr(errors, name)("it broke", hint="mend it")
    assert isinstance(error, errors.HpoError)
    assert (error.exit_code, str(error), error.hint) == (code, "it broke", "mend it")


def test_problems_stand_in_columns() -> None:
    problems = [Problem("space.momntum", "no task reads this"), Problem("seed", "must be 0")]
    assert str(SpecError(source="x.toml", problems=problems)) == (
        "x.toml has 2 mistakes\n  space.momntum   no task reads this\n  seed            must be 0"
    )
    assert str(SpecError(problems=[Problem("", "it is wrong")])) == (
        "the input has 1 mistake\n  it is wrong"
    )


def test_the_nearest_name() -> None:
    assert nearest("Momntum", ["momentum", "depth"]) == "momentum"
    assert nearest("zzz", ["momentum", "depth"]) is None
    assert did_you_mean("dept", ["momentum", "depth"]) == "; did you mean depth?"
    assert did_you_mean("zzz", []) == ""


@pytest.mark.parametrize(
    ("name", "allowed", "meant"),
    [
        ("lr", ["learning_rate", "l1"], "learning_rate"),
        ("bayes", ["auto", "gp", "cmaes"], "gp"),
        ("values", ["choices", "value"], "choices"),
        ("lr", ["width", "depth"], None),
        ("layers", ["layers", "depth"], "layers"),
    ],
)
def test_names_that_others_use(name: str, allowed: list[str], meant: str | None) -> None:
    assert nearest(name, allowed) == meant
