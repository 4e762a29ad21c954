from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hpo.spec.space.params import Params
from hpo.train.recipe import optimizers
from hpo.train.recipe.hyperparameters import complete
from hpo.train.recipe.optimizers import OPTIMIZERS

torch.set_num_threads(1)
share = st.floats(0, 0.99)
values = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(list(OPTIMIZERS)),
        "learning_rate": st.floats(1e-5, 1.0),
        "weight_decay": st.floats(0, 0.5),
        "momentum": share,
        "nesterov": st.booleans(),
        "beta1": share,
        "beta2": share,
        "alpha": share,
        "eps": st.floats(1e-8, 1e-2),
    }
)


def reference(trained: list[nn.Parameter], v: dict[str, Any]) -> torch.optim.Optimizer:
    common = {"lr": v["learning_rate"], "weight_decay": v["weight_decay"], "foreach": False}
    match v["optimizer"]:
        case "adagrad":
            return torch.optim.Adagrad(trained, eps=v["eps"], **common)
        case "rmsprop":
            return torch.optim.RMSprop(
                trained, alpha=v["alpha"], eps=v["eps"], momentum=v["momentum"], **common
            )
        case "adam" | "adamw" as name:
            cls = torch.optim.Adam if name == "adam" else torch.optim.AdamW
            return cls(trained, betas=(v["beta1"], v["beta2"]), eps=v["eps"], **common)
        case name:
            looks_ahead = {"sgd": v["nesterov"], "momentum": False, "nesterov": True}[name]
            nesterov = looks_ahead and v["momentum"] > 0
            return torch.optim.SGD(trained, momentum=v["momentum"], nesterov=nesterov, **common)


@given(values, st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_ten_steps_are_those_of_torch(v: dict[str, Any], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(5, 2, dtype=torch.float64, generator=generator)
    gradients = torch.randn(10, 5, 2, dtype=torch.float64, generator=generator)
    ends = []
    for build in (
        lambda p: optimizers.build(p, complete(Params(v), {})),
        lambda p: reference(p, v),
    ):
        trained = [nn.Parameter(start.clone())]
        optimizer = build(trained)
        for gradient in gradients:
            trained[0].grad = gradient.clone()
            optimizer.step()
        ends.append(trained[0].detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=1e-9)
