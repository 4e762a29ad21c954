"""The MLP that the ready-made tasks share."""

from typing import Any

import pytest
import torch
from torch import nn

from hpo.errors import TaskError
from hpo.spec.params import Params
from hpo.tasks.blocks import ACTIVATIONS, MLP_DEFAULTS, NORMALIZATIONS, mlp
from hpo.tasks.digits import DigitsMLP
from hpo.train.task import Task


def build(**values: Any) -> nn.Sequential:
    return mlp(5, 3, Params({**MLP_DEFAULTS, **values}))


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_choice_builds(depth: int, normalization: str, activation: str) -> None:
    model = build(depth=depth, width=7, normalization=normalization, activation=activation)
    assert model(torch.rand(4, 5)).shape == (4, 3)
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert len(linear) == depth + 1
    assert all(layer.out_features == 7 for layer in linear[:-1])


def test_the_rate_of_dropout_does_not_change_the_structure() -> None:
    plain, dropped = build(dropout=0.0), build(dropout=0.5)
    assert [type(layer) for layer in plain] == [type(layer) for layer in dropped]


def test_parameters_are_those_read() -> None:
    params = Params({**MLP_DEFAULTS, "learning_rate": 1.0})
    mlp(5, 3, params)
    assert params.read == set(MLP_DEFAULTS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"activation": "rleu"}, "found 'rleu'; did you mean relu?"),
        ({"normalization": 3}, "normalization must be none, batch, layer; found 3"),
        ({"depth": 1.5}, "depth must be a whole number from 0; found 1.5"),
        ({"width": 0}, "width must be a whole number from 1; found 0"),
        ({"depth": True}, "depth must be a whole number"),
    ],
)
def test_impossible_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError) as caught:
        build(**values)
    assert message in str(caught.value)


def test_digits_task() -> None:
    task: Task = DigitsMLP()
    splits = task.data().splits()
    assert splits.n_classes == 10
    model = task.model(Params({"depth": 1, "width": 8}).with_defaults(task.defaults))
    assert model(splits.val.x).shape == (len(splits.val), 10)
    assert (task.metric, task.direction) == ("val_accuracy", "maximize")
