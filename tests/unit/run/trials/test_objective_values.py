"""What an objective may return."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch

from hpo.run.trials.objective_values import judged


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
    [None, "much", 1j, np.ones((2, 2)), np.ones(0), [None], {"loss": 1.0}, object(), Explosive()],
)
def test_anything_else_is_told_and_fails_its_trial(result: Any) -> None:
    found = judged(result, 1)
    assert (found.values, found.reason) == (None, "user_code")
    assert found.message.startswith("the objective returned ")
    assert found.message.endswith("; a number is needed")
    assert len(found.message) < 300


@pytest.mark.parametrize("result", [np.ones(2), torch.ones(2), pd.Series([1.0, 2.0])])
def test_an_array_of_values_is_no_sequence_to_optuna_and_told_how_to_become_one(
    result: Any,
) -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.optimize(lambda trial: result, n_trials=1)
    assert study.trials[0].state is optuna.trial.TrialState.FAIL

    found = judged(result, 2)
    assert (found.values, found.n_values) == (None, None)
    assert found.message == (
        "the objective returned an array of 2 values; return a tuple or list of 2 numbers"
    )
    found = judged(result, 1)
    assert (found.values, found.n_values) == (None, 2)
    assert found.message == (
        "the objective returned an array of 2 values; the study has 1 direction: return a tuple "
        "or list of 2 numbers, and name a direction for each value, such as --direction minimize "
        "--direction maximize"
    )


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
