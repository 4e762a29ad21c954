"""What a task may return by mistake is told as its author's mistake, never as a fault of hpo's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hpo
from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.train.checks.task_preview import metric_names, one_batch
from hpo.train.engine import Failure, Lane
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import make_task
from hpo.train.user_code_guard import attempt


class Right(hpo.Task):
    def data(self) -> hpo.Data:
        x = torch.rand(40, 2)
        return hpo.Data.split(x, x.sum(1))

    def model(self, params: hpo.Params) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))


class Outputs(nn.Module):
    """Returns something else than a tensor."""

    def __init__(self, change: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.change = nn.Linear(2, 1), change

    def forward(self, x: torch.Tensor) -> Any:
        return self.change(self.layer(x))


def task(**methods: Any) -> hpo.Task:
    return make_task(type("Wrong", (Right,), methods), {})


OUTPUTS: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda y: (y, y),
    "dict": lambda y: {"y": y},
    "nothing": lambda y: None,
    "numpy": lambda y: y.detach().numpy(),
    "scalar": lambda y: y.sum(),
    "integers": lambda y: y.long(),
}
LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "nothing": lambda outputs, targets: None,
    "float": lambda outputs, targets: 1.0,
    "numpy": lambda outputs, targets: np.float64(1.0),
    "vector": lambda outputs, targets: outputs - targets,
    "tuple": lambda outputs, targets: (outputs.sum(), 1),
    "detached": lambda outputs, targets: outputs.detach().sum(),
}
METRICS: list[Any] = [None, [1], 1.0, "x", {"a": "x"}, {"a": None}, {"a": np.ones(3)}, {"a": 1j}]
WRONG = {
    **{f"model {name}": {"model": lambda self, p, f=f: Outputs(f)} for name, f in OUTPUTS.items()},
    **{f"loss {name}": {"loss": lambda self, o, t, f=f: f(o, t)} for name, f in LOSSES.items()},
    **{f"metrics {v}": {"metrics": lambda self, o, t, v=v: v} for v in METRICS},
    "optimizer": {"optimizer": lambda self, model, params: "sgd"},
}


def _check(wrong: hpo.Task, splits: Any) -> None:
    metric_names(wrong, splits)
    one_batch(wrong, splits, Params())


@pytest.mark.parametrize("methods", WRONG.values(), ids=WRONG)
def test_what_a_task_returns_by_mistake_is_its_authors(methods: dict[str, Any]) -> None:
    wrong = task(**methods)
    splits = wrong.data().splits()
    with pytest.raises(TaskError):
        _check(wrong, splits)
    # And in a trial, which may be the first to come there.
    engine = SoloEngine(wrong, splits, "val_loss", "minimize")
    failure = engine.add(Lane(0, Params(), 0, 0, 1))
    if failure is None:
        (report,) = engine.advance()
        failure = report.failure
    assert isinstance(failure, Failure)
    assert failure.reason == "user_code"


@pytest.mark.parametrize("name", ["defaults", "space", "budget", "validation"])
def test_a_tasks_settings_must_be_dicts(name: str) -> None:
    with pytest.raises(TaskError, match=f"Wrong.{name} must be a dict; found list"):
        task(**{name: [1]})


@pytest.mark.parametrize("error", [SystemExit(2), GeneratorExit(), RuntimeError("\ud800")])
def test_the_boundary_catches_everything(error: BaseException) -> None:
    def call() -> None:
        raise error

    failure = attempt(call)
    assert isinstance(failure, Failure)
    assert failure.reason == "user_code"
    assert failure.message.encode("utf-8")
    with pytest.raises(KeyboardInterrupt):
        attempt(lambda: (_ for _ in ()).throw(KeyboardInterrupt))
