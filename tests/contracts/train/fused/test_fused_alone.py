"""What cannot be stacked is found before it trains, trains alone, and says why."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from hpo.spec.space.params import Params
from hpo.train.data.dataset import Splits
from hpo.train.engine import Lane
from hpo.train.task import Task
from tests.contracts.train.fused.test_fused_tasks import (
    POINTS,
    STEPS,
    Built,
    Net,
    numpy_position,
    three,
)
from tests.kits.stacks import add, advance, assert_as_alone, fused, saved, sizes_of, solo
from tests.kits.toy import Blobs, blobs, lane

Build = Callable[[Params], nn.Module]


def net(forward: Callable[[Any, Tensor], Tensor], **parts: Any) -> Build:
    """A model of one linear layer, called ``head``, and what the forward pass makes of it."""
    return lambda params: Net(forward, head=nn.Linear(2, 3), **parts)


def with_spare(params: Params) -> nn.Module:
    return Net(lambda self, x: self.head(x), head=nn.Linear(2, 3), spare=nn.Linear(2, 2))


def branching(self: Any, x: Tensor) -> Tensor:
    return self.head(x) if x.sum() > 0 else -self.head(x)


def leaving_the_device(self: Any, x: Tensor) -> Tensor:
    return self.head(x) * x.abs().max().item()


def by_torch(self: Any, x: Tensor) -> Tensor:
    return self.head(x + 0.1 * torch.randn_like(x) if self.training else x)


def by_numpy(self: Any, x: Tensor) -> Tensor:
    return self.head(x) * (float(np.random.rand()) if self.training else 1.0)


def by_python(self: Any, x: Tensor) -> Tensor:
    # Hardly ever: two steps of a probe would not meet it.
    return self.head(x) * (0.0 if self.training and random.random() < 1e-9 else 1.0)


def counting(self: Any, x: Tensor) -> Tensor:
    self.n_calls = getattr(self, "n_calls", 0) + self.training
    return self.head(x) * (1 + 1e-7 * self.n_calls)


def in_double(params: Params) -> nn.Module:
    return Net(lambda self, x: self.head(x.double()).float(), head=nn.Linear(2, 3).double())


def with_hook(params: Params) -> nn.Module:
    layer = nn.Linear(2, 3)
    layer.weight.register_hook(lambda gradient: 0.1 * gradient)
    return layer


class Extra(nn.Linear):
    def get_extra_state(self) -> Any:
        return 3

    def set_extra_state(self, state: Any) -> None:
        assert state == 3


def attention(params: Params) -> nn.Module:
    attend = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True)
    forward: Callable[[Any, Tensor], Tensor] = lambda self, x: self.head(  # noqa: E731
        self.attend(x, x, x)[0].mean(1)
    )
    return Net(forward, attend=attend, head=nn.Linear(4, 3))


def scaled_by(params: Params) -> nn.Module:
    forward: Callable[[Any, Tensor], Tensor] = lambda self, x: (  # noqa: E731
        self.head(x) * self.params.scale
    )
    return Net(forward, head=nn.Linear(2, 3), params=params)


RANDOM = "it draws random numbers beside those of nn.Dropout"
CASES: dict[str, tuple[Build, str]] = {
    "control flow": (net(branching), "it cannot be stacked: .* data-dependent control flow"),
    "item": (net(leaving_the_device), r"it cannot be stacked: .*calling .item\(\) on a Tensor"),
    "torch.randn": (net(by_torch), f"{RANDOM}$"),
    "numpy.random": (net(by_numpy), f"{RANDOM}$"),
    "random": (net(by_python), f"{RANDOM}$"),
    "attention dropout": (attention, f"{RANDOM}: attend has dropout=0.3 of its own"),
    "float64": (in_double, "its parameters are float64; stacks are of float32"),
    "unused parameter": (with_spare, "it does not use its parameter spare.weight"),
    "counter": (net(counting), "its forward pass changes the attribute n_calls"),
    "gradient hook": (with_hook, "a hook sees the gradient of its parameter weight"),
    "extra state": (lambda params: Extra(2, 3), "its state dict has _extra_state"),
    "lazy": (lambda params: nn.LazyLinear(3), "uninitialized parameter"),
    "reads params": (scaled_by, "its forward pass reads the param scale"),
}


def assert_alone(task: Task, reason: str, splits: Splits, one: Lane, folder: Path) -> None:
    engine, reference = fused(task, splits), solo(task, splits)
    before = torch.get_rng_state(), numpy_position(), random.getstate()
    for each in (engine, reference):
        add(each, [one])
    found, expected = advance(engine, 2), advance(reference, 2)
    (said,) = engine.alone.values()
    assert re.search(reason, said), said
    assert [r.metrics for r in found[one.key]] == [r.metrics for r in expected[one.key]]
    states = [saved(each, one.key, folder).model for each in (engine, reference)]
    assert repr(states[0]) == repr(states[1])
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (numpy_position(), random.getstate())


@pytest.mark.parametrize("case", CASES)
# Of PyTorch, for its lazy layers.
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_found_by_the_probe(case: str, tmp_path: Path) -> None:
    build, reason = CASES[case]
    splits = STEPS if build is attention else POINTS
    assert_alone(Built(build), reason, splits, lane(scale=0.5), tmp_path)


def test_an_optimizer_of_the_task(tmp_path: Path) -> None:
    class Own(Blobs):
        def optimizer(self, model: nn.Module, params: Params) -> Optimizer:
            return SGD(model.parameters(), lr=0.1)

    assert_alone(Own(), "the task brings its own optimizer", blobs(), lane(), tmp_path)


def test_a_loss_that_leaves_the_device(tmp_path: Path) -> None:
    class Own(Blobs):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return super().loss(outputs, targets) * (1 + float(outputs.detach().mean()))

    assert_alone(Own(), r"it cannot be stacked: .*\.item\(\)", blobs(), lane(), tmp_path)


def test_a_batch_that_the_probe_has_not_seen(tmp_path: Path) -> None:
    # The last target alone is beyond the classes, and not in the first batch.
    y = POINTS.train.y.clone()
    y[-1] = 7
    splits = Splits(type(POINTS.train)(POINTS.train.x, y), POINTS.val, None, "classification")
    task = Built(net(lambda self, x: self.head(x)))
    engines = [fused(task, splits), solo(task, splits)]
    failures = []
    for engine in engines:
        add(engine, [lane(batch_size=13)])
        (report,) = engine.advance()
        assert report.failure is not None
        failures.append(report.failure.message.splitlines()[-1])
    assert failures[0] == failures[1]


@pytest.mark.parametrize(
    "build",
    [
        lambda p: nn.Sequential(nn.Linear(2, 5), nn.LeakyReLU(p.learning_rate), nn.Linear(5, 3)),
        lambda p: Net(lambda self, x: self.head(x) * p.learning_rate, head=nn.Linear(2, 3)),
        lambda p: Net(
            lambda self, x: self.f(self.head(x)), head=nn.Linear(2, 3), f=lambda x: x * p.momentum
        ),
    ],
    ids=["slope", "closure", "lambda in a closure"],
)
def test_numbers_in_the_code_are_each_trials_own(build: Build, tmp_path: Path) -> None:
    engine, lanes = fused(Built(build), POINTS), three()
    add(engine, lanes)
    reports = advance(engine, 2)
    assert sizes_of(engine) == [1, 1, 1]
    assert engine.alone == {}
    assert_as_alone(engine, lanes, reports, lambda: solo(Built(build), POINTS), tmp_path)


@pytest.mark.parametrize("is_after", [True, False])
def test_hooks_are_part_of_what_lanes_share(is_after: bool, tmp_path: Path) -> None:
    def build(params: Params) -> nn.Module:
        layer, scale = nn.Linear(2, 3), params.learning_rate
        if is_after:
            layer.register_forward_hook(lambda module, args, outputs: outputs * scale)
        else:
            layer.register_forward_pre_hook(lambda module, args: (args[0] * scale,))
        return nn.Sequential(layer)

    engine, lanes = fused(Built(build), POINTS), three()
    add(engine, lanes)
    reports = advance(engine, 2)
    assert sizes_of(engine) == [1, 1, 1]
    assert_as_alone(engine, lanes, reports, lambda: solo(Built(build), POINTS), tmp_path)
