"""Every optimizer against torch.optim's own loop and against the formula of its paper."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.recipe import optimizers
from hpo.train.recipe.hyperparameters import complete
from hpo.train.recipe.optimizers import OPTIMIZERS

LR, WD, MOMENTUM, BETA1, BETA2, ALPHA, EPS = 0.05, 0.02, 0.8, 0.7, 0.95, 0.9, 1e-6
VALUES = {
    "learning_rate": LR,
    "weight_decay": WD,
    "momentum": MOMENTUM,
    "beta1": BETA1,
    "beta2": BETA2,
    "alpha": ALPHA,
    "eps": EPS,
}
COMMON: dict[str, Any] = {"lr": LR, "weight_decay": WD, "foreach": False}
TORCH: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, momentum=MOMENTUM, **COMMON),
    "momentum": lambda p: torch.optim.SGD(p, momentum=MOMENTUM, **COMMON),
    "nesterov": lambda p: torch.optim.SGD(p, momentum=MOMENTUM, nesterov=True, **COMMON),
    "adagrad": lambda p: torch.optim.Adagrad(p, eps=EPS, **COMMON),
    "rmsprop": lambda p: torch.optim.RMSprop(p, alpha=ALPHA, eps=EPS, momentum=MOMENTUM, **COMMON),
    "adam": lambda p: torch.optim.Adam(p, betas=(BETA1, BETA2), eps=EPS, **COMMON),
    "adamw": lambda p: torch.optim.AdamW(p, betas=(BETA1, BETA2), eps=EPS, **COMMON),
}


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator)) for s in ((4, 3), (3,))]


def gradients(seed: int = 1, n: int = 25) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((4, 3), (3,))
    return [[torch.randn(s, generator=generator) for s in shapes] for _ in range(n)]


def walk(optimizer: torch.optim.Optimizer, trained: list[nn.Parameter]) -> list[Tensor]:
    for step in gradients():
        for parameter, gradient in zip(trained, step, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return [parameter.detach() for parameter in trained]


def ours(**values: Any) -> list[Tensor]:
    trained = parameters()
    return walk(optimizers.build(trained, complete(Params(values), {})), trained)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_as_in_torch(name: str) -> None:
    theirs = parameters()
    expected = walk(TORCH[name](theirs), theirs)
    torch.testing.assert_close(ours(optimizer=name, **VALUES), expected, rtol=2e-6, atol=2e-6)


def sgd(w: Any, g: Any, state: dict[str, Any], *, nesterov: bool = False) -> Any:
    g = g + WD * w
    state["v"] = MOMENTUM * state["v"] + g if "v" in state else g
    return w - LR * (g + MOMENTUM * state["v"] if nesterov else state["v"])


def adagrad(w: Any, g: Any, state: dict[str, Any]) -> Any:
    g = g + WD * w
    state["s"] = state.get("s", 0.0) + g**2
    return w - LR * g / (np.sqrt(state["s"]) + EPS)


def rmsprop(w: Any, g: Any, state: dict[str, Any]) -> Any:
    g = g + WD * w
    state["s"] = ALPHA * state.get("s", 0.0) + (1 - ALPHA) * g**2
    state["v"] = MOMENTUM * state.get("v", 0.0) + g / (np.sqrt(state["s"]) + EPS)
    return w - LR * state["v"]


def adam(w: Any, g: Any, state: dict[str, Any], *, decoupled: bool = False) -> Any:
    w, g = (w - LR * WD * w, g) if decoupled else (w, g + WD * w)
    state["t"] = state.get("t", 0) + 1
    state["m"] = BETA1 * state.get("m", 0.0) + (1 - BETA1) * g
    state["s"] = BETA2 * state.get("s", 0.0) + (1 - BETA2) * g**2
    mean = state["m"] / (1 - BETA1 ** state["t"])
    return w - LR * mean / (np.sqrt(state["s"] / (1 - BETA2 ** state["t"])) + EPS)


FORMULAS: dict[str, Callable[..., Any]] = {
    "sgd": sgd,
    "momentum": sgd,
    "nesterov": lambda *a: sgd(*a, nesterov=True),
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": lambda *a: adam(*a, decoupled=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_as_in_the_paper(name: str) -> None:
    found = ours(optimizer=name, **VALUES)
    for i, parameter in enumerate(parameters()):
        w = parameter.detach().double().numpy()
        state: dict[str, Any] = {}
        for step in gradients():
            w = FORMULAS[name](w, step[i].double().numpy(), state)
        np.testing.assert_allclose(found[i].numpy(), w, rtol=1e-4, atol=2e-5)


def test_sgd_honours_momentum_and_nesterov() -> None:
    values = {"learning_rate": LR, "momentum": 0.5}
    as_sgd = ours(optimizer="sgd", nesterov=True, **values)
    torch.testing.assert_close(as_sgd, ours(optimizer="nesterov", **values), rtol=0, atol=0)
    plain = ours(optimizer="sgd", learning_rate=LR)
    for name in ("momentum", "nesterov"):
        without = ours(optimizer=name, learning_rate=LR, momentum=0.0)
        torch.testing.assert_close(without, plain, rtol=0, atol=0)
    # Nesterov's without momentum is none.
    looking = ours(optimizer="sgd", learning_rate=LR, nesterov=True)
    torch.testing.assert_close(looking, plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_reads_what_it_says(name: str) -> None:
    params = complete(Params({"optimizer": name}), {})
    optimizers.build(parameters(), params)
    assert params.read == {"optimizer", "learning_rate", "weight_decay", *OPTIMIZERS[name].reads}


def test_l1_is_the_gradient_of_the_penalty() -> None:
    trained = parameters()
    trained[1].data[0] = 0.0
    zero = torch.zeros(())
    loss = sum(((p**2).sum() for p in trained), zero)
    (loss + 0.3 * sum((p.abs().sum() for p in trained), zero)).backward()
    expected = [p.grad.clone() for p in trained if p.grad is not None]
    for parameter in trained:
        parameter.grad = 2 * parameter.detach()
    optimizers.add_l1(trained, 0.3)
    torch.testing.assert_close([p.grad for p in trained], expected)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_gradients_are_clipped_together(max_norm: float) -> None:
    trained = parameters()
    for parameter, gradient in zip(trained, gradients()[0], strict=True):
        parameter.grad = gradient.clone()
    before = math.sqrt(sum(float((g**2).sum()) for g in gradients()[0]))
    assert float(optimizers.clip_gradients(trained, max_norm)) == pytest.approx(before)
    after = math.sqrt(sum(float((p.grad**2).sum()) for p in trained if p.grad is not None))
    assert after == pytest.approx(min(before, max_norm), rel=1e-4)
