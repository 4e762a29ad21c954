"""Which trials can be lanes of one stack, and which parameters decide it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Categorical, Float, Int, SearchSpace
from hpo.tasks.digits import Digits
from hpo.train.checks.probe_points import typical
from hpo.train.checks.signature import Signature, changed, describe, signature_of, structural
from hpo.train.recipe.counter_based_dropout import lift
from hpo.train.recipe.hyperparameters import complete
from hpo.train.task import Task
from tests.kits.toy import Blobs, mlp

Build = Callable[..., nn.Module]


def signature(build: Build, *arguments: Any, seed: int = 0, **values: Any) -> Signature:
    torch.manual_seed(seed)
    params = complete(Params(values), {})
    model = build(*arguments)
    lift(model)
    return signature_of(model, params, 16)


class Holding(nn.Module):
    """A layer that keeps something beside its parameters."""

    def __init__(self, **kept: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)
        for name, value in kept.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def holding(value: Any) -> Build:
    return lambda: Holding(kept=value() if callable(value) else value)


def made_anew(scale: float, helper: float = 0.0) -> nn.Module:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.scaled(self.linear(x)) * scale

        def scaled(self, x: Tensor) -> Tensor:
            return x * helper

        @property
        def name(self) -> str:
            return "inside"

    return Inside()


def closing_over(value: Any) -> nn.Module:
    return Holding(function=lambda x: x * value)


def closing_over_itself() -> nn.Module:
    module: Any = Holding()

    def descend(x: Tensor, depth: int = 2) -> Tensor:
        return descend(x, depth - 1) if depth else module.linear(x)

    module.descend = descend
    module.parts = [module.linear, module.linear.weight]
    module.call = module.linear.forward
    return module


ALIKE: dict[str, tuple[Build, tuple[Any, ...], tuple[Any, ...]]] = {
    "values of parameters": (lambda: nn.Linear(2, 3), (), ()),
    "rate of dropout": (lambda p: nn.Sequential(nn.Dropout(p), nn.Linear(2, 3)), (0.0,), (0.5,)),
    "recurrent layers": (lambda: nn.LSTM(2, 3), (), ()),
    "class made anew": (made_anew, (1.5,), (1.5,)),
    "equal numbers in a closure": (closing_over, (0.5,), (0.5,)),
    "itself in a closure": (closing_over_itself, (), ()),
    "params that it keeps": (
        lambda x: Holding(kept=Params({"learning_rate": x})),
        (0.1,),
        (0.2,),
    ),
    "equal tensors": (holding(lambda: torch.arange(3)), (), ()),
    "equal functions": (holding(lambda: partial(functional.relu, inplace=False)), (), ()),
    "values of buffers": (lambda: nn.BatchNorm1d(3), (), ()),
}


@pytest.mark.parametrize("case", ALIKE)
def test_alike(case: str) -> None:
    build, one, other = ALIKE[case]
    assert signature(build, *one, seed=1) == signature(build, *other, seed=2)
    digests = [signature(build, *args, seed=3).digest() for args in (one, other)]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 16


def normed(momentum: float) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, momentum=momentum))


def hooked(scale: float, kind: str) -> nn.Module:
    layer = nn.Linear(2, 3)
    if kind == "after":
        layer.register_forward_hook(lambda module, args, outputs: outputs * scale)
    else:
        layer.register_forward_pre_hook(lambda module, args: (args[0] * scale,))
    return nn.Sequential(layer)


def tying(to: int) -> nn.Module:
    layers = [nn.Linear(2, 2) for _ in range(3)]
    layers[2].weight = layers[to].weight
    return nn.Sequential(*layers)


OTHER: dict[str, tuple[Build, tuple[Any, ...], tuple[Any, ...]]] = {
    "width": (lambda n: nn.Linear(2, n), (3,), (4,)),
    "depth": (lambda n: nn.Sequential(*[nn.Linear(2, 2)] * n), (1,), (2,)),
    "activation": (lambda kind: nn.Sequential(nn.Linear(2, 3), kind()), (nn.ReLU,), (nn.Tanh,)),
    "slope": (lambda s: nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(s)), (0.1,), (0.2,)),
    "momentum of statistics": (normed, (0.1,), (0.2,)),
    "kind of dropout": (lambda kind: nn.Sequential(kind()), (nn.Dropout,), (nn.Dropout1d,)),
    "frozen": (lambda on: nn.Linear(2, 3).requires_grad_(on), (True,), (False,)),
    "mode": (lambda on: nn.Sequential(nn.Linear(2, 3).train(on)), (True,), (False,)),
    "dropout of its own": (lambda p: nn.MultiheadAttention(4, 2, p), (0.1,), (0.2,)),
    "number": (lambda x: Holding(kept=x), (1,), (2,)),
    "type of a number": (lambda x: Holding(kept=x), (1,), (1.0,)),
    "text": (lambda x: Holding(kept=x), ("a",), ("b",)),
    "list": (lambda x: Holding(kept=[x, {"a": x}]), (1,), (2,)),
    "tensor": (lambda x: Holding(kept=torch.tensor(x)), (1.0,), (2.0,)),
    "function": (lambda f: Holding(kept=f), (torch.relu,), (torch.tanh,)),
    "partial function": (lambda x: Holding(kept=partial(torch.add, 1, alpha=x)), (1,), (2,)),
    "closure": (closing_over, (0.5,), (0.6,)),
    "class made anew": (made_anew, (1.5,), (1.6,)),
    "helper of a class made anew": (made_anew, (1.5, 1.0), (1.5, 2.0)),
    "forward hook": (partial(hooked, kind="after"), (1.0,), (2.0,)),
    "hook before forward": (partial(hooked, kind="before"), (1.0,), (2.0,)),
    "tied weights": (tying, (0,), (1,)),
    "what nobody can look into": (holding(lambda: iter([1])), (), ()),
}


@pytest.mark.parametrize("case", OTHER)
def test_other(case: str) -> None:
    build, one, other = OTHER[case]
    assert signature(build, *one) != signature(build, *other)


def test_hyperparameters_that_are_part_of_it() -> None:
    build = partial(nn.Linear, 2, 3)
    plain = signature(build, optimizer="adam")
    assert plain == signature(build, optimizer="adam", learning_rate=3.0, schedule="cosine")
    assert plain != signature(build, optimizer="adamw")
    assert plain != signature_of(build(), complete(Params({"optimizer": "adam"}), {}), 17)


def test_a_lambda_in_another_place_is_another_function() -> None:
    assert signature(lambda: Holding(f=lambda x: x + 1)) != signature(
        lambda: Holding(f=lambda x: x + 2)
    )


def test_a_model_that_cannot_be_described_is_like_no_other() -> None:
    loop: list[Any] = []
    loop.append(loop)
    one, other = (signature(lambda: Holding(kept=loop)) for _ in range(2))
    assert one != other
    assert one == Signature(one.model, one.settings)


def test_what_a_step_has_changed() -> None:
    model: Any = nn.Sequential(Holding(n=1), nn.Linear(3, 3))
    before = describe(model)
    assert changed(before, describe(model)) is None
    model[0].n = 2
    assert changed(before, describe(model)) == "the attribute n of its module 0"
    model[0].n, model.new = 1, [3]
    assert changed(before, describe(model)) == "the attribute new"
    del model.new
    model.register_buffer("late", torch.zeros(2))
    assert changed(before, describe(model)) == "its modules or tensors"


PROGRAM = """
import torch
from hpo.spec.space.params import Params
from hpo.train.recipe.hyperparameters import complete
from hpo.train.checks.signature import signature_of
from tests.unit.train.checks.test_signature import Holding
model = torch.nn.Sequential(
    Holding(kept={"b", "a", "c"}, f=lambda x: x in {"x", "y", "z"}, d={"b": 1, "a": 2}),
    torch.nn.LSTM(2, 2),
)
print(signature_of(model, complete(Params({"optimizer": "adam"}), {}), 16).digest())
"""


@pytest.mark.slow
def test_a_digest_is_the_same_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 16


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({}, "3ac63910115ff6ae"),
        ({"residual": True, "batch_norm": True}, "62ae8706dbea15d6"),
    ],
)
def test_digests_that_are_stored_stay(options: dict[str, Any], digest: str) -> None:
    # As of before any module was renamed: databases hold measurements by them.
    task = Digits()
    params = complete(Params({"depth": 2, "width": 8, "dropout": 0.2, **options}), task.defaults)
    model = task.model(params)
    lift(model)
    assert signature_of(model, params, 32).digest() == digest


SPACE = SearchSpace(
    {
        "learning_rate": Float(1e-4, 1.0, log=True),
        "momentum": Float(0.0, 0.9),
        "weight_decay": Float(1e-6, 1e-2, log=True),
        "dropout": Float(0.0, 0.5),
        "grad_clip": Categorical([0.0, 1.0]),
        "schedule": Categorical(["constant", "cosine", "step"]),
        "step_size": Int(1, 5, when={"schedule": "step"}),
        "optimizer": Categorical(["sgd", "adam"]),
        "batch_size": Categorical([16, 32]),
        "depth": Int(1, 3),
        "width": Int(4, 16),
    }
)
STRUCTURE = {"optimizer", "batch_size", "depth", "width"}


def middle(space: SearchSpace, **values: Any) -> dict[str, Any]:
    return {**typical(space).asdict(), **values}


def test_structural_parameters() -> None:
    assert structural(Blobs(), SPACE, middle(SPACE), 90) == STRUCTURE
    # What the space gives is looked at, whatever else is in the point.
    assert structural(Blobs(), SPACE, middle(SPACE, other=3), 90) == STRUCTURE
    # Of ten samples every batch has ten.
    assert structural(Blobs(), SPACE, middle(SPACE), 10) == STRUCTURE - {"batch_size"}


class Branching(Task):
    """Has parameters that apply to one of its models only."""

    def model(self, params: Params) -> nn.Module:
        if params.kind == "wide":
            return nn.Sequential(nn.Linear(2, params.width), nn.LeakyReLU(params.slope))
        return nn.Linear(2, 3)


CONDITIONAL = SearchSpace(
    {
        "kind": Categorical(["plain", "wide"]),
        "width": Int(2, 9, when={"kind": "wide"}),
        "slope": Float(0.0, 1.0, when={"kind": "wide"}),
        "learning_rate": Float(0.1, 1.0),
    }
)


def test_structural_parameters_of_a_conditional_space() -> None:
    assert structural(Branching(), CONDITIONAL, middle(CONDITIONAL), 90) == {"kind"}
    wide = middle(CONDITIONAL, kind="wide", width=3, slope=0.5)
    assert structural(Branching(), CONDITIONAL, wide, 90) == {"kind", "width", "slope"}


class Switched(Task):
    """A switch that changes no shape, with a parameter that only it makes apply."""

    def model(self, params: Params) -> nn.Module:
        rate = params.rate if params.drops else 0.0
        return nn.Sequential(nn.Linear(2, 3), nn.Dropout(rate))


def test_a_switch_is_looked_at_with_what_applies_then() -> None:
    space = SearchSpace(
        {"drops": Categorical([False, True]), "rate": Float(0.1, 0.5, when={"drops": True})}
    )
    assert structural(Switched(), space, {"drops": False}, 90) == frozenset()
    assert structural(Switched(), space, {"drops": True, "rate": 0.2}, 90) == frozenset()


class Awkward(Blobs):
    """Cannot be built without memory, draws as it is built, and keeps what nobody can look into."""

    def model(self, params: Params) -> nn.Module:
        rates = [rate.item() for rate in torch.linspace(0, 0.5, params.depth)]
        model: Any = mlp(params)
        model.rates, model.params, model.anew = rates, params, object()
        model.mask = torch.rand(params.width) > 0.5
        return model


def test_structural_parameters_of_awkward_models() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert structural(Awkward(), SPACE, middle(SPACE), 90) == STRUCTURE
    assert torch.equal(torch.rand(1), expected)


def test_models_are_looked_at_without_memory() -> None:
    class Masked(Blobs):
        def model(self, params: Params) -> nn.Module:
            model = mlp(params)
            model.mask = torch.ones(params.width)
            devices.add(model.mask.device.type)
            return model

    devices: set[str] = set()
    assert structural(Masked(), SPACE, middle(SPACE), 90) == STRUCTURE
    assert devices == {"meta"}


def test_a_model_that_raises_for_a_value() -> None:
    class Raising(Blobs):
        def model(self, params: Params) -> nn.Module:
            if params.momentum > 0.8:
                raise ValueError("too fast")
            return mlp(params)

    assert structural(Raising(), SPACE, middle(SPACE), 90) == STRUCTURE | {"momentum"}
