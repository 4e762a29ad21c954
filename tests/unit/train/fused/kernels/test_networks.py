"""Forward and backward passes of many models at once, against each model by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.train.evaluation import predict
from hpo.train.fused.kernels.flat_params import ParamLayout, fixed_tensors
from hpo.train.fused.kernels.networks import Layered, Mapped, Network, networks_of, set_active
from hpo.train.fused.kernels.stacked_losses import CrossEntropy, LaneLoss, MappedLoss
from hpo.train.fused.stack.lane_state import dropping_of
from hpo.train.objective.losses import cross_entropy, mse
from hpo.train.recipe.counter_based_dropout import DropoutRng, lift, step_keys

torch.set_num_threads(1)
Build = Callable[[float], nn.Module]
RATES = (0.0, 0.5, 0.2)
K, B = len(RATES), 11


def mixed(rate: float) -> nn.Module:
    return nn.Sequential(
        nn.Dropout(rate),
        nn.Sequential(nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU(inplace=True)),
        nn.Identity(),
        nn.Dropout(rate / 2),
        nn.Linear(5, 7),
        nn.Tanh(),
        nn.LayerNorm(7),
        nn.Linear(7, 4),
    )


def normed_first(rate: float) -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(6, eps=0.1, momentum=0.3), nn.SiLU(), nn.Linear(6, 4))


def over_steps(rate: float) -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm(3, eps=0.01),
        nn.Linear(3, 4),
        nn.GELU(approximate="tanh"),
        nn.Dropout1d(rate),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def repeated(rate: float) -> nn.Module:
    activation, dropout = nn.Sigmoid(), nn.Dropout(rate)
    steps = [nn.Linear(6, 5), activation, dropout, nn.Linear(5, 5), activation, dropout]
    return nn.Sequential(*steps, nn.GELU(), nn.Linear(5, 4))


CHAINS: dict[str, tuple[Build, tuple[int, ...]]] = {
    "mixed": (mixed, (6,)),
    "normed first": (normed_first, (6,)),
    "over steps": (over_steps, (2, 3)),
    "repeated": (repeated, (6,)),
    "one layer": (lambda rate: nn.Linear(6, 4), (6,)),
}


@dataclass
class Lanes:
    """K models with values of their own, and a batch for each."""

    models: Sequence[nn.Module]
    dropout_rngs: Sequence[DropoutRng]
    x: Tensor
    y: Tensor
    keys: Tensor

    def step(self, i: int, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Leaves gradients in the model of a lane; returns the loss."""
        model = self.models[i].train()
        self.dropout_rngs[i].begin(int(self.keys[i]))
        value = loss(model(self.x[i].clone()), self.y[i])
        value.backward()
        return value.detach()


def lanes_of(build: Build, shape: tuple[int, ...]) -> Lanes:
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        models = [build(rate) for rate in RATES]
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.data += 0.1 * torch.rand(tensor.shape, generator=generator)
    x = torch.randn(K, B, *shape, generator=generator)
    y = torch.randint(0, 4, (K, B), generator=generator)
    keys = torch.from_numpy(step_keys(7, K))
    return Lanes(models, [lift(model) for model in models], x, y, keys)


def stacked(models: Sequence[nn.Module], names: Callable[[nn.Module], Any]) -> dict[str, Tensor]:
    found = [names(model) for model in models]
    return {name: torch.stack([one[name].detach().clone() for one in found]) for name in found[0]}


def parameters_of(model: nn.Module) -> Mapping[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@dataclass
class Result:
    losses: Tensor
    grads: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]
    outputs: Tensor


def run(
    lanes: Lanes, make: Callable[[nn.Module, DropoutRng], Network], loss: LaneLoss, samples: Tensor
) -> Result:
    """A step in training mode, then outputs in evaluation mode for samples that lanes share."""
    stand_in, dropout_rng = lanes.models[0], lanes.dropout_rngs[0]
    weights, fixed = stacked(lanes.models, parameters_of), stacked(lanes.models, fixed_tensors)
    dropping = frozenset().union(*map(dropping_of, lanes.models))
    set_active(stand_in, dropping.__contains__)
    network, layout = make(stand_in, dropout_rng), ParamLayout(stand_in)
    grads = layout.views(torch.full((K, layout.size), torch.nan))
    network.bind(grads)
    losses = network.train(weights, fixed, lanes.x.clone(), lanes.y, lanes.keys, loss)
    return Result(losses, grads, fixed, network.predict(weights, fixed, samples))


def layered(model: nn.Module, dropout_rng: DropoutRng) -> Network:
    found = Layered.of(model, dropout_rng)
    assert found is not None
    return found


NETWORKS: dict[str, Callable[[nn.Module, DropoutRng], Network]] = {
    "layered": layered,
    "mapped": Mapped,
    "decomposed": lambda model, dropout_rng: Mapped(model, dropout_rng, decomposes=True),
}
SMOOTHING = (0.0, 0.1, 0.7)
LOSSES: dict[str, tuple[LaneLoss, Sequence[Callable[[Tensor, Tensor], Tensor]]]] = {
    "cross-entropy": (CrossEntropy(None), [functional.cross_entropy] * K),
    "smoothed": (
        CrossEntropy(torch.tensor(SMOOTHING).unsqueeze(1)),
        [partial(functional.cross_entropy, label_smoothing=share) for share in SMOOTHING],
    ),
    "any": (
        MappedLoss(lambda x, y: mse(x, functional.one_hot(y, 4).float())),
        [lambda x, y: functional.mse_loss(x, functional.one_hot(y, 4).float())] * K,
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("chain", CHAINS)
def test_each_lane_is_its_model(chain: str, network: str, loss: str) -> None:
    build, shape = CHAINS[chain]
    of_stack, of_lanes = LOSSES[loss]
    samples = torch.randn(9, *shape, generator=torch.Generator().manual_seed(9))
    found = run(lanes_of(build, shape), NETWORKS[network], of_stack, samples)

    lanes = lanes_of(build, shape)
    expected = torch.stack([lanes.step(i, of_lanes[i]) for i in range(K)])
    torch.testing.assert_close(found.losses, expected, rtol=1e-5, atol=1e-6)
    grads = [
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        for model in lanes.models
    ]
    for name, tensor in found.grads.items():
        wanted = torch.stack([each[name] for each in grads])
        torch.testing.assert_close(tensor, wanted, rtol=1e-4, atol=1e-6)
    for name, tensor in found.fixed.items():
        wanted = torch.stack([dict(model.named_buffers())[name] for model in lanes.models])
        torch.testing.assert_close(tensor, wanted, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        wanted = torch.stack([predict(model.eval(), samples) for model in lanes.models])
    torch.testing.assert_close(found.outputs, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_padding_and_data_stay_as_they_are(network: str) -> None:
    lanes = lanes_of(mixed, (6,))
    layout, weights = ParamLayout(lanes.models[0]), stacked(lanes.models, parameters_of)
    rows, x = torch.full((K, layout.size), 5.0), lanes.x.clone()
    made = NETWORKS[network](lanes.models[0], lanes.dropout_rngs[0])
    made.bind(layout.views(rows))
    fixed = stacked(lanes.models, fixed_tensors)
    made.train(weights, fixed, x, lanes.y, lanes.keys, CrossEntropy(None))
    made.predict(weights, fixed, x[0])
    assert torch.equal(x, lanes.x)
    used = torch.zeros(layout.size, dtype=torch.bool)
    for slot in layout.slots:
        used[slot.begin : slot.end] = True
    assert (~used).any()
    assert (rows[:, ~used] == 5).all()


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Softer(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return functional.softplus(x)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 4))
    model[0].register_forward_hook(lambda module, args, outputs: 2 * outputs)
    return model


def patched() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 4))
    model[0].forward = lambda x: x[:, :4]
    return model


def twice() -> nn.Module:
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.ReLU(), layer)


UNKNOWN: dict[str, Callable[[], nn.Module]] = {
    "subclass": lambda: nn.Sequential(Doubled(6, 4)),
    "subclass of an activation": lambda: nn.Sequential(nn.Linear(6, 4), Softer()),
    "hook": hooked,
    "forward of its own": patched,
    "shared layer": twice,
    "frozen layer": lambda: nn.Sequential(nn.Linear(6, 5).requires_grad_(False), nn.Linear(5, 4)),
    "cumulative statistics": lambda: nn.Sequential(nn.BatchNorm1d(6, momentum=None)),
    "no statistics": lambda: nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False)),
    "no scale": lambda: nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4, elementwise_affine=False)),
    "other layers": lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU6()),
    "partial flattening": lambda: nn.Sequential(nn.Linear(6, 4), nn.Flatten(2)),
    "nothing to train": lambda: nn.Sequential(nn.ReLU()),
    "another container": lambda: nn.Sequential(nn.Linear(6, 4), nn.ModuleList()),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_no_chain_of_known_layers(case: str) -> None:
    model = UNKNOWN[case]()
    dropout_rng = lift(model)
    assert Layered.of(model, dropout_rng) is None
    assert [type(network) for network in networks_of(model, dropout_rng)] == [Mapped]


def test_recurrent_models_have_a_second_way() -> None:
    model = nn.GRU(2, 3)
    assert [type(network) for network in networks_of(model, DropoutRng())] == [Mapped, Mapped]


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("smoothing", [None, [0.0, 0.2, 0.9]])
def test_cross_entropy_and_its_gradient(
    shape: tuple[int, ...], smoothing: list[float] | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = 3 * torch.randn(K, B, *shape, 5, generator=generator)
    targets = torch.randint(0, 5, (K, B, *shape), generator=generator)
    loss = CrossEntropy(None if smoothing is None else torch.tensor(smoothing).unsqueeze(1))
    leaf = outputs.clone().requires_grad_()
    expected = torch.stack(
        [cross_entropy(leaf[i], targets[i], smoothing[i] if smoothing else 0.0) for i in range(K)]
    )
    expected.sum().backward()
    losses, gradient = loss.with_gradient(outputs, targets)
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(gradient, leaf.grad)
    torch.testing.assert_close(loss(outputs, targets), expected.detach())
