"""Update rules for many models at once, against torch.optim for each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.fused.kernels.stacked_optimizers import (
    RULES,
    HyperparameterColumns,
    add_penalties,
    names_of,
)
from hpo.train.recipe import optimizers
from hpo.train.recipe.hyperparameters import complete
from hpo.train.recipe.optimizers import OPTIMIZERS

torch.set_num_threads(1)
N = 10
share = st.sampled_from([0.0, 0.3, 0.9, 0.99])
lane = st.fixed_dictionaries(
    {
        "learning_rate": st.floats(1e-4, 0.3),
        "weight_decay": st.sampled_from([0.0, 1e-3, 0.3]),
        "momentum": share,
        "nesterov": st.booleans(),
        "beta1": share,
        "beta2": st.sampled_from([0.5, 0.9, 0.999]),
        "alpha": st.sampled_from([0.5, 0.9, 0.99]),
        # Not less: rounding divided by it would be all that there is of a gradient near 0.
        "eps": st.sampled_from([1e-3, 1e-2, 0.1]),
        "l1": st.sampled_from([0.0, 0.01]),
        "grad_clip": st.sampled_from([0.0, 0.5, 1e3]),
    }
)


def alone(start: Tensor, gradients: Tensor, params: Params) -> tuple[Tensor, dict[str, Tensor]]:
    """Ten steps of one model [P], for gradients [10, P]."""
    parameter = nn.Parameter(start.clone())
    optimizer = optimizers.build([parameter], params)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizers.add_l1([parameter], params["l1"])
        if params["grad_clip"]:
            optimizers.clip_gradients([parameter], params["grad_clip"])
        optimizer.step()
    return parameter.detach(), optimizer.state[parameter]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@given(values=st.lists(lane, min_size=1, max_size=5), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_ten_steps_of_each_lane_are_those_of_torch(
    optimizer: str, values: list[dict[str, Any]], seed: int
) -> None:
    params = [complete(Params({**v, "optimizer": optimizer}), {}) for v in values]
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(len(values), N, generator=generator)
    gradients = torch.randn(10, len(values), N, generator=generator)
    # One gap between parameters, as rows have it.
    gap = torch.zeros(len(values), 1)
    weights = torch.cat([start, gap], 1)
    columns = HyperparameterColumns(params, names_of(optimizer), torch.device("cpu"))
    state = {name: torch.zeros_like(weights) for name in RULES[optimizer].state}
    state["step"] = torch.zeros(len(values))
    row = torch.zeros_like(weights)
    for gradient in gradients:
        row[:, :N] = gradient
        state["step"] += 1
        add_penalties(weights, row, columns)
        RULES[optimizer].update(weights, row, state, columns)
    for i, one in enumerate(params):
        expected, states = alone(start[i], gradients[:, i], one)
        # Single precision rounds by 1e-7, adaptive rules divide that by eps, and steps add up.
        torch.testing.assert_close(weights[i, :N], expected, rtol=1e-4, atol=2e-4)
        for name, tensor in states.items():
            if name != "step" and tensor is not None:
                torch.testing.assert_close(state[name][i, :N], tensor, rtol=1e-4, atol=1e-4)
    assert not weights[:, N].any()
    assert not row[:, N].any()


@given(st.lists(st.floats(0, 10), min_size=1, max_size=6), st.data())
def test_columns_are_set_in_place(values: list[float], data: st.DataObject) -> None:
    params = [{"a": value, "b": 0.0} for value in values]
    columns = HyperparameterColumns(params, ("a", "b"), torch.device("cpu"))
    held = columns["a"], columns.double("a")
    assert columns.any("a") == any(values)
    assert not columns.any("b")
    assert columns.decisions() == (any(values), False)
    new = data.draw(st.lists(st.floats(0, 10), min_size=len(values), max_size=len(values)))
    columns.set("a", new)
    assert columns.any("a") == any(new)
    assert any(tensor is held[0] for tensor in columns.tensors())
    assert held[1].squeeze(1).tolist() == new
    assert torch.equal(held[0], torch.tensor(new).unsqueeze(1))
