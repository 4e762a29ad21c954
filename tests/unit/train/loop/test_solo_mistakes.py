"""Mistakes in a task's methods: what a trial's failure says, the same in both engines."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.train.checks.task_preview import metric_names
from hpo.train.engine import Failure
from hpo.train.loop import own_optimizer
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from tests.kits.stacks import fused
from tests.kits.toy import Blobs, blobs, lane


class Plain(Blobs):
    def model(self, params: Params) -> nn.Module:
        return nn.Linear(2, 3)


class LossOfEach(Plain):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none")


class LossWithoutGradient(Plain):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs.detach(), targets)


class LossInNumPy(Plain):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.tensor(outputs.numpy().mean())


class MetricInNumPy(Plain):
    """A tensor without memory is as far from NumPy as one on a GPU, with the same message."""

    def metrics(self, outputs: Tensor, targets: Tensor) -> Any:
        return {"mean": outputs.to("meta").numpy().mean()}


class Text(Plain):
    def metrics(self, outputs: Tensor, targets: Tensor) -> Any:
        return {"mean": "0.5"}


class Nothing(Plain):
    def metrics(self, outputs: Tensor, targets: Tensor) -> Any:
        return {"mean": None}


class Complex(Plain):
    def metrics(self, outputs: Tensor, targets: Tensor) -> Any:
        return {"mean": torch.tensor(1 + 1j)}


class Elsewhere(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.shift = nn.Linear(2, 3), torch.ones(3, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(x) + self.shift
        return y


class OnAnotherDevice(Plain):
    def model(self, params: Params) -> nn.Module:
        return Elsewhere()


class Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.head(x).sigmoid()
        y: Tensor = gates * gates
        gates += 1
        return y


class InPlace(Plain):
    def model(self, params: Params) -> nn.Module:
        return Overwriting()


class ForeignOptimizer(Plain):
    def optimizer(self, model: nn.Module, params: Params) -> torch.optim.Optimizer:
        return torch.optim.SGD(nn.Linear(2, 3).parameters(), lr=0.1)


class SameModel(Plain):
    kept = nn.Linear(2, 3)

    def model(self, params: Params) -> nn.Module:
        return self.kept


HERE = "test_solo_mistakes.py, line "


def failure_of(task: Task, *, stacked: bool) -> Failure:
    engine: Any = fused(task, blobs()) if stacked else None
    engine = engine or SoloEngine(task, blobs(), "val_accuracy", "maximize")
    for key in (1, 2):
        failure = engine.add(lane(key=key)) or engine.advance()[0].failure
        if failure is not None:
            assert isinstance(failure, Failure)
            return failure
        engine.remove(key)
    raise AssertionError("nothing failed")


@pytest.mark.parametrize("stacked", [False, True], ids=["solo", "fused"])
@pytest.mark.parametrize(
    ("task", "parts"),
    [
        (LossOfEach(), ["loss must be a single number; found a tensor of shape [32]"]),
        (LossWithoutGradient(), ["the task's loss has no gradient"]),
        (LossInNumPy(), [HERE, ", in loss: use .detach().cpu().numpy()"]),
        (MetricInNumPy(), ["to numpy", HERE, ", in metrics: ", "use .cpu().numpy()"]),
        (Text(), ["the task's mean must be a single number; found str"]),
        (Nothing(), ["the task's mean must be a single number; found NoneType"]),
        (Complex(), ["the task's mean must be a single number; found Tensor, torch.complex64"]),
        (OnAnotherDevice(), [HERE, ", in forward: ", "register_buffer()"]),
        (InPlace(), ["in place, such as x += y"]),
        (
            ForeignOptimizer(),
            ["ForeignOptimizer.optimizer has 2 parameters that the model does not have"],
        ),
        (SameModel(), ["SameModel.model must build a new model each time"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Task) else "",
)
def test_a_mistake_is_the_users_and_named(task: Task, parts: list[str], stacked: bool) -> None:
    failure = failure_of(task, stacked=stacked)
    last = failure.message.strip().rpartition("\n")[2]
    assert failure.reason == "user_code"
    assert [part for part in parts if part not in last] == []


def test_hpo_check_names_the_line_and_the_remedy() -> None:
    with pytest.raises(TaskError, match="MetricInNumPy raises TypeError") as caught:
        metric_names(MetricInNumPy(), blobs())
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(HERE)
    assert ".cpu().numpy()" in caught.value.hint


def test_parameters_that_the_optimizer_leaves_out_are_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Partly(Plain):
        def model(self, params: Params) -> nn.Module:
            return nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3))

        def optimizer(self, model: nn.Module, params: Params) -> torch.optim.Optimizer:
            assert isinstance(model, nn.Sequential)
            return torch.optim.SGD(model[0].parameters(), lr=0.1)

    monkeypatch.setattr(own_optimizer, "_TOLD", set())
    engine = SoloEngine(Partly(), blobs(), "val_accuracy", "maximize")
    with caplog.at_level(logging.WARNING, logger="hpo"):
        for key in (1, 2):
            assert engine.add(lane(key=key)) is None
            assert engine.advance()[0].failure is None
            engine.remove(key)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("Partly.optimizer leaves out 1.weight, 1.bias: they stay as they are")
