"""What an objective may return."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np
import pytest
import torch

from hpo.run.returned import judged


class Explosive:
    """A number to look at, not to be had."""

    def __float__(self) -> float:
        raise RuntimeError("boom")

    def __repr__(self) -> str:
        raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (0.5, 0.5),
        (True, 1.0),
        (np.float32(0.25), 0.25),
        (np.array(0.5), 0.5),
        (torch.tensor(1.5), 1.5),
        (torch.tensor([1.5]), 1.5),
        (decimal.Decimal("0.25"), 0.25),
        (math.inf, math.inf),
        ([0.5], 0.5),
        ("0.5", 0.5),
    ],
)
def test_numbers_are_taken_as_optuna_takes_them(result: Any, value: float) -> None:
    assert judged(result, 1).values == (value,)


@pytest.mark.parametrize(
    "result",
    [None, "much", 1j, np.ones(2), torch.ones(2), [None], {"loss": 1.0}, object(), Explosive()],
)
def test_anything_else_is_told_and_fails_its_trial(result: Any) -> None:
    found = judged(result, 1)
    assert (found.values, found.reason) == (None, "user_code")
    assert found.message.startswith("the objective returned ")
    assert found.message.endswith("; a number is needed")
    assert len(found.message) < 300


def test_nan_has_a_reason_of_its_own() -> None:
    assert judged(math.nan, 1).reason == "nan"
    assert judged((1.0, math.nan), 2).reason == "nan"


def test_as_many_directions_are_proposed_as_there_are_values() -> None:
    found = judged((1, 2), 1)
    assert found.n_values == 2
    assert "--direction minimize --direction maximize" in found.message
    assert judged((1, 2, 3), 2).message.endswith("maximize --direction minimize")
    assert judged(1.0, 2).message.endswith("such as --direction minimize")
    assert judged((), 1).n_values is None
