from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.train.checks.task_preview import estimate, metric_names, one_batch, read_parameters
from hpo.train.task import Task
from tests.kits.toy import Blobs, Digits, Slopes, blobs, digits, slopes

DIGITS = {
    "learning_rate": {"low": 1e-4, "high": 1.0, "log": True},
    "batch_size": {"choices": [32, 64, "full"]},
    "momentum": {"low": 0.0, "high": 0.99},
    "depth": {"low": 1, "high": 4},
    "width": {"choices": [32, 64]},
    "optimizer": "sgd",
}


def problems(task: Task, space: dict[str, Any], splits: Any = None) -> dict[str, str]:
    report = read_parameters(task, SearchSpace(space), splits or blobs())
    return {problem.key: problem.message for problem in report.problems}


def test_a_space_that_fits() -> None:
    report = read_parameters(Digits(), SearchSpace(DIGITS), digits())
    assert report.problems == ()
    assert report.read == set(DIGITS)


def test_what_nobody_reads() -> None:
    found = problems(Digits(), {**DIGITS, "momentm": 0.5, "hidden": 3}, digits())
    assert found == {
        "space.momentm": "no task reads this",
        "space.hidden": "no task reads this",
    }
    misspelt = {"momentm" if name == "momentum" else name: DIGITS[name] for name in DIGITS}
    found = problems(Digits(), misspelt, digits())
    assert found == {"space.momentm": "no task reads this; did you mean momentum?"}


def test_standard_names_without_effect() -> None:
    space = {"optimizer": "sgd", "beta1": 0.9, "step_size": 3}
    found = problems(Slopes(), {**space, "dropout": 0.1, "label_smoothing": 0.1}, slopes())
    assert all(text.startswith("has no effect here; it is read by") for text in found.values())
    assert {key: text.partition(" read by ")[2] for key, text in found.items()} == {
        "space.beta1": 'optimizer = "adam" or optimizer = "adamw"',
        "space.step_size": 'schedule = "step"',
        "space.dropout": "tasks, and not by this one",
        "space.label_smoothing": 'loss = "cross_entropy"',
    }
    space["optimizer"] = {"choices": ["sgd", "adam"]}
    space["schedule"] = {"choices": ["constant", "step"]}
    assert problems(Slopes(), space, slopes()) == {}


def test_what_the_task_misses() -> None:
    found = problems(Digits(), {"widht": {"choices": [8, 16]}, "depth": 2}, digits())
    assert found == {
        "space.widht": "the task reads width, and the space gives widht; spell them alike"
    }
    found = problems(Digits(), {"breadth": {"choices": [8, 16]}, "depth": 2}, digits())
    assert found["space.width"].startswith("the task reads this, but neither the space nor")


def test_what_is_read_behind_a_missing_parameter_is_seen() -> None:
    class Behind(Digits):
        def model(self, params: Params) -> nn.Module:
            assert params.widht
            return nn.Linear(64, 10 * params.factor)

    found = problems(Behind(), {"width": {"low": 4, "high": 8}, "factor": 1}, digits())
    assert found == {
        "space.width": "the task reads widht, and the space gives width; spell them alike"
    }


def test_defaults_of_the_task_count() -> None:
    class Ready(Digits):
        defaults: ClassVar = {"depth": 1, "width": 8, "optimizer": "adam"}

    assert problems(Ready(), {"beta1": {"low": 0.5, "high": 0.9}}, digits()) == {}


def test_impossible_values_are_problems() -> None:
    space = {"learning_rate": {"low": 0.0, "high": 1.0}, "momentum": 2.0, "batch_size": 1.5}
    assert problems(Slopes(), space, slopes()) == {
        "space.learning_rate": "must be above 0; found 0.0",
        "space.momentum": "must be from 0 to below 1; found 2.0",
        "space.batch_size": 'must be a whole number from 1 or "full"; found 1.5',
    }


class Branches(Task):
    """Reads some params only where they apply, some only together, one in the forward pass."""

    def model(self, params: Params) -> nn.Module:
        outer = params

        class Late(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) * outer.scale

        if params.arch == "wide":
            return Late(2, 3 * params.factor // params.factor)
        if params.pool and params.norm:
            assert params.rare
        return Late(2, 3)


def test_conditional_and_hidden_reads_are_found() -> None:
    both = {"choices": [False, True]}
    space = {
        "arch": {"choices": ["narrow", "wide"]},
        "factor": {"low": 1, "high": 3, "when": {"arch": "wide"}},
        "pool": both,
        "norm": both,
        "rare": {"low": 1, "high": 3},
        "scale": {"low": 0.5, "high": 2.0},
    }
    assert problems(Branches(), space) == {}
    space["factor"] = {"low": 1, "high": 3, "when": {"arch": "narrow"}}
    assert problems(Branches(), space) == {
        "space.factor": "the task reads this even where its conditions do not hold"
    }


def test_who_takes_all_params_may_use_them() -> None:
    class All(Blobs):
        def model(self, params: Params) -> nn.Module:
            self.kept = params.asdict()
            return super().model(params)

    assert problems(All(), {"anything": 1}) == {}


def test_points_at_which_the_task_raises_are_its_own_affair() -> None:
    class Picky(Blobs):
        def model(self, params: Params) -> nn.Module:
            if params.broken:
                raise ValueError("broken on purpose")
            return super().model(params)

    assert problems(Picky(), {"broken": {"choices": [True, False]}}) == {}
    with pytest.raises(TaskError, match=r"Picky.model raises ValueError: broken on purpose"):
        problems(Picky(), {"broken": True})


def test_models_that_the_meta_device_cannot_build() -> None:
    class Values(Blobs):
        def model(self, params: Params) -> nn.Module:
            model = nn.Linear(2, 3)
            model.weight.data /= model.weight.norm().item() * params.scale
            return model

    assert problems(Values(), {"scale": 2.0}) == {}


def test_an_optimizer_of_ones_own_reads_too() -> None:
    class Own(Blobs):
        def optimizer(self, model: nn.Module, params: Params) -> torch.optim.Optimizer:
            return torch.optim.SGD(model.parameters(), lr=params.rate)

    assert problems(Own(), {"rate": 0.1}) == {}
    found = problems(Own(), {"rate": 0.1, "weight_decay": 0.1})
    assert found == {
        "space.weight_decay": "has no effect here; it is read by the engine's own optimizers"
    }


def test_metric_names() -> None:
    assert metric_names(Blobs(), blobs()) == ("train_loss", "val_loss", "val_accuracy")
    names = metric_names(Slopes(), slopes())
    assert names == ("train_loss", "val_loss", "val_mse", "val_mae", "val_r2")
    assert "val_accuracy" in metric_names(Digits(), digits(), Params({"depth": 1, "width": 8}))
    with pytest.raises(TaskError, match="the params have no depth"):
        metric_names(Digits(), digits())


def test_one_batch() -> None:
    cost = one_batch(Digits(), digits(), Params({"depth": 1, "width": 8, "batch_size": 100}))
    assert cost.n_parameters == 64 * 8 + 8 + 8 * 10 + 10
    assert cost.steps_per_epoch == 11
    assert 0 < cost.seconds_per_step < 1
    with pytest.raises(TaskError, match="learning_rate must be above 0"):
        one_batch(Slopes(), slopes(), Params({"learning_rate": 0.0}))


def test_estimate() -> None:
    assert 0 < estimate(Slopes(), slopes(), SearchSpace({"batch_size": {"choices": [8, 16]}})) < 1
