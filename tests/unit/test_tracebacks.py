"""Whose fault an exception is, and what is said of it, whatever its class does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
import torch

import hpo
from hpo.errors import InternalError, SpecError, TaskError
from hpo.search.optuna.pruners import lowest_rung
from hpo.spec.space.params import Params
from hpo.tracebacks import MAX_REPORT, headline, is_internal, place_of, report_of, shown


class Unspeakable(Exception):
    """Its text cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def raised(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any
        call()
    return caught.value


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "call",
    [
        lambda: fail(ValueError("of the user")),
        lambda: fail(SystemExit("bad configuration")),
        lambda: fail(GeneratorExit()),
        lambda: 1 / 0,
        lambda: optuna.create_study().ask().suggest_float("x", 1, 0),
        lambda: torch.ones(2) @ torch.ones(3),
        lambda: hpo.Data.split(torch.ones(3, 2), torch.ones(4)),
        lambda: hpo.Data.split(None, None),
        lambda: Params({"width": 3}).widht,
        lambda: hpo.Task().data(),
        lambda: fail(TaskError("impossible params")),
        lambda: fail(SpecError("wrong")),
    ],
)
def test_what_user_code_raises_or_provokes_by_wrong_arguments_is_the_users(
    call: Callable[[], Any],
) -> None:
    assert not is_internal(raised(call))


def test_what_hpo_raises_by_itself_is_internal_with_its_place() -> None:
    # Nobody is told that this is wrong, so it is for hpo to see to it.
    error = raised(lambda: lowest_rung(9, 0))
    assert is_internal(error)
    assert place_of(error).startswith("hpo/search/optuna/pruners.py:")
    last = report_of(error).splitlines()[-1]
    assert last.startswith("ZeroDivisionError: integer ")
    assert " at hpo/search/optuna/pruners.py:" in last
    assert "please report it" in last
    assert is_internal(InternalError("known to be"))


def test_a_report_of_any_exception_can_be_stored_and_read() -> None:
    error = raised(lambda: fail(ValueError("\ud800 and \0 " + "x" * 10_000_000)))
    report = report_of(error)
    assert len(report) < 2 * MAX_REPORT
    assert "characters left out" in report
    assert "\0" not in report.encode("utf-8").decode()
    assert "test_tracebacks.py" in report
    unspeakable = raised(lambda: fail(Unspeakable()))
    assert headline(unspeakable) == "Unspeakable: <its text cannot be read: RuntimeError>"
    assert report_of(unspeakable).endswith(headline(unspeakable))
    assert shown(Unspeakable()) == "<Unspeakable>"
    assert report_of(raised(lambda: fail(SystemExit("why")))).rstrip().endswith("SystemExit: why")
