"""Mistakes in a task's model and data, and what is said of each before any trial."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.tasks.code.resolve import resolve
from hpo.train.checks.size_limits import MOST_TENSORS, TooLargeError
from hpo.train.checks.task_preview import metric_names, one_batch, read_parameters
from hpo.train.recipe.optimizers import OPTIMIZERS
from hpo.train.task import Task, data_of
from tests.kits.toy import blobs


class Plain(Task):
    """Two layers that do not fit."""

    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(9, 3))


class Net(nn.Module):
    def __init__(self, returns: Any = None) -> None:
        super().__init__()
        self.first, self.returns = nn.Linear(2, 3), returns

    def forward(self, x: Tensor) -> Any:
        outputs = self.first(x)
        if self.returns is None:
            return outputs @ torch.ones(4, 3)
        return self.returns(outputs)


class Own(Task):
    def __init__(self, returns: Any = None) -> None:
        self.returns = returns

    def model(self, params: Params) -> nn.Module:
        return Net(self.returns)


def said(task: Task) -> str:
    with pytest.raises(TaskError) as caught:
        metric_names(task, blobs())
    return caught.value.message


def test_shapes_that_do_not_fit_are_told_with_their_layer_and_line() -> None:
    line = Plain.model.__code__.co_firstlineno
    assert said(Plain()).startswith(
        f"test_task_preview_first_look.py, line {line}, Plain.model: layer '2', "
        "Linear(in_features=9, out_features=3, bias=True), is given shape [30, 8] and raises "
        "RuntimeError: "
    )
    line = Net.forward.__code__.co_firstlineno + 3
    assert said(Own()).startswith(
        f"test_task_preview_first_look.py, line {line}, in forward: the model, Net"
    )


@pytest.mark.parametrize(
    ("returns", "what"),
    [
        (lambda y: None, "nothing"),
        (lambda y: y.tolist()[0][0], "a float"),
    ],
)
def test_models_that_return_no_tensor(returns: Any, what: str) -> None:
    assert said(Own(returns)) == f"the model must return one tensor; it returns {what}"


@pytest.mark.parametrize(
    ("returns", "what"),
    [
        (lambda y: (y, y), "a tuple of 2"),
        (lambda y: {"logits": y, "hidden": y}, "a dict of logits, hidden"),
    ],
)
def test_several_outputs_need_a_loss_and_metrics_of_the_task(returns: Any, what: str) -> None:
    assert said(Own(returns)) == (
        f"the model returns {what}, and hpo's own loss and metrics take one tensor"
    )


@pytest.mark.parametrize(
    ("found", "what", "hint"),
    [
        (
            DataLoader(TensorDataset(torch.ones(4, 2))),
            "found DataLoader",
            "datasets(loader",
        ),
        ((torch.ones(4, 2), torch.ones(4)), "found tuple", "cuts features and targets"),
        (None, "found nothing (is a return missing?)", "hpo.Data.split(x, y) takes"),
    ],
)
def test_data_that_is_none(found: Any, what: str, hint: str) -> None:
    class Loads(Task):
        def data(self) -> Any:
            return found

    with pytest.raises(TaskError) as caught:
        data_of(Loads())
    assert caught.value.message == f"Loads.data must return an hpo.Data; {what}"
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_layers_in_a_plain_list_are_told(caplog: pytest.LogCaptureFixture) -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.layers = nn.Linear(2, 3), [nn.Linear(2, 2), nn.Linear(2, 2)]

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.last(self.layers[1](self.layers[0](x)))
            return outputs

    class Lists(Task):
        def model(self, params: Params) -> nn.Module:
            return Hidden()

    with caplog.at_level(logging.WARNING, logger="hpo"):
        metric_names(Lists(), blobs())
    assert "Hidden.layers: 2 layers in a plain list are not trained; use nn.ModuleList" in (
        caplog.text
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_complex_weights_are_trained(optimizer: str) -> None:
    class Rotated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn = nn.Parameter(torch.randn(2, 3, dtype=torch.complex64))

        def forward(self, x: Tensor) -> Tensor:
            return (x.to(torch.complex64) @ self.turn).abs()

    class Complex(Task):
        def model(self, params: Params) -> nn.Module:
            return Rotated()

    params = Params({"optimizer": optimizer, "learning_rate": 0.01})
    assert one_batch(Complex(), blobs(), params).n_parameters == 6


@pytest.mark.parametrize("name", ["depth", "width"])
@pytest.mark.parametrize("high", [10_000_000_000, 1_000_000])
def test_models_that_no_machine_can_build(name: str, high: int) -> None:
    task = resolve("digits-mlp")
    space = SearchSpace({"learning_rate": 0.1, name: {"low": 1, "high": high}})
    (problem,) = read_parameters(task, space, task.data().splits()).problems
    most = "1,000" if name == "depth" else "100,000"
    assert (problem.key, problem.message) == (
        f"space.{name}",
        f"must be at most {most} for a built-in model; found {high:,}",
    )


@pytest.mark.slow
def test_an_own_model_without_an_end() -> None:
    class Endless(Task):
        def model(self, params: Params) -> nn.Module:
            model = nn.Sequential()
            for _ in range(params.depth):
                model.append(nn.Linear(2, 2))
            return model

    space = SearchSpace({"depth": 10_000_000_000})
    with pytest.raises(TooLargeError, match=f"more than {MOST_TENSORS:,} weights"):
        read_parameters(Endless(), space, blobs())


def test_the_first_look_leaves_no_hooks(tmp_path: Path) -> None:
    metric_names(Own(lambda outputs: outputs), blobs())
    assert not nn.modules.module._global_parameter_registration_hooks
