"""Dropout's masks: as random as they should be, and a trial's own."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap

from hpo.train.fused.kernels.layers import Dropout
from hpo.train.recipe.counter_based_dropout import (
    LIFTED,
    DropoutRng,
    LaneDropout,
    keep_mask,
    lift,
    places_of,
    step_keys,
    threshold_of,
)
from hpo.train.recipe.random_streams import derive

CPU = torch.device("cpu")
N = 20_000


def mask(key: int, n: int = N, rate: float = 0.5) -> Tensor:
    return keep_mask(key, places_of(n, CPU), torch.tensor(threshold_of(rate)))


def keys(n: int, seed: int = 1, epoch: int = 0) -> list[int]:
    found: list[int] = step_keys(derive(seed, "noise", epoch), n).tolist()
    return found


def assert_independent(one: Tensor, other: Tensor) -> None:
    """Chi-square test of a table of two by two, for shares of one half; one in 10^5 fails it."""
    counts = torch.bincount(2 * one.int() + other.int(), minlength=4).double()
    expected = len(one) / 4
    assert float(((counts - expected) ** 2 / expected).sum()) < 25.9


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.75, 0.99])
def test_the_rate(rate: float) -> None:
    # Over many steps of some lanes: within four standard deviations in total and in each step.
    dropped = [int((~mask(key, rate=rate)).sum()) for seed in range(4) for key in keys(25, seed)]
    deviation = math.sqrt(N * rate * (1 - rate))
    assert abs(sum(dropped) - 100 * N * rate) < 4 * 10 * deviation
    assert max(abs(n - N * rate) for n in dropped) < 4.5 * deviation


def test_the_number_dropped_varies_as_it_should() -> None:
    n_dropped = torch.tensor([int((~mask(key)).sum()) for key in keys(400)]).double()
    # The variance of a binomial; that of a variance over 400 has a deviation of a fourteenth.
    assert n_dropped.var().item() == pytest.approx(N / 4, rel=0.3)


@pytest.mark.parametrize(
    "pair",
    [
        (keys(1)[0], keys(2)[1]),
        (keys(1, seed=1)[0], keys(1, seed=2)[0]),
        (keys(1, epoch=0)[0], keys(1, epoch=1)[0]),
        # Neighbours in their bits.
        (0, 1),
        (0, 1 << 30),
        (5, 5 + (1 << 16)),
    ],
    ids=["steps", "trials", "epochs", "lowest bit", "highest bit", "middle bit"],
)
def test_keys_are_independent(pair: tuple[int, int]) -> None:
    assert_independent(mask(pair[0]), mask(pair[1]))


@pytest.mark.parametrize("distance", [1, 2, 3, 7, 16, 64, 100, 128, 1000, 1024, 4096])
def test_places_are_independent(distance: int) -> None:
    for key in keys(3):
        one = mask(key)
        assert_independent(one[:-distance], one[distance:])


def test_a_place_is_random_over_steps() -> None:
    over_steps = torch.stack([mask(key, 64) for key in keys(4000)])
    # Each of 64 places: a share of one half within five standard deviations.
    assert (over_steps.double().mean(0) - 0.5).abs().max().item() < 5 * 0.5 / math.sqrt(4000)
    assert_independent(over_steps[:, 3], over_steps[:, 4])
    assert_independent(over_steps[:-1, 3], over_steps[1:, 3])


def test_layers_are_independent() -> None:
    dropout_rng = DropoutRng()
    dropout_rng.begin(keys(1)[0])
    # More than there are salts at first.
    found = [mask(int(dropout_rng.layer_key())) for _ in range(40)]
    for one, other in pairwise(found):
        assert_independent(one, other)
    assert len({one.numpy().tobytes() for one in found}) == 40
    dropout_rng.begin(keys(1)[0])
    assert all(torch.equal(mask(int(dropout_rng.layer_key())), one) for one in found)


def test_steps_of_an_epoch_do_not_follow_from_its_length() -> None:
    assert keys(10)[:4] == keys(4)
    assert len(set(keys(5000))) == 5000


def lifted(module: nn.Module) -> tuple[nn.Sequential, DropoutRng]:
    model = nn.Sequential(module)
    return model, lift(model)


def test_scaling_keeps_the_mean_and_dropped_elements_are_zero() -> None:
    model, dropout_rng = lifted(nn.Dropout(0.8))
    x = torch.ones(100, 300)
    dropout_rng.begin(keys(1)[0])
    out = model(x)
    assert out.unique().tolist() == pytest.approx([0.0, 5.0])
    assert out.mean().item() == pytest.approx(1.0, abs=0.05)
    gradient_of = x.clone().requires_grad_()
    dropout_rng.begin(keys(1)[0])
    model(gradient_of).sum().backward()
    assert gradient_of.grad is not None
    assert torch.equal(gradient_of.grad, out)


def test_without_a_rate_or_in_evaluation_nothing_changes() -> None:
    x = torch.randn(7, 9, generator=torch.Generator().manual_seed(0))
    for rate, training in ((0.0, True), (0.0, False), (0.5, False)):
        model, dropout_rng = lifted(nn.Dropout(rate))
        model.train(training)
        dropout_rng.begin(3)
        assert model(x) is x


def test_a_rate_of_one_drops_everything() -> None:
    model, dropout_rng = lifted(nn.Dropout(1.0))
    dropout_rng.begin(3)
    assert not model(torch.ones(50, 50)).any()


@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.Dropout1d, (6, 50, 4)), (nn.Dropout2d, (6, 50, 3, 4))]
)
def test_whole_channels_are_dropped(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    model, dropout_rng = lifted(kind(0.5))
    dropout_rng.begin(keys(1)[0])
    out = model(torch.ones(shape)).flatten(2)
    assert (out == out[:, :, :1]).all()
    assert 0.3 < (out[:, :, 0] == 0).float().mean().item() < 0.7


def test_a_layer_without_a_rate_leaves_the_others_their_masks() -> None:
    found = []
    for rate in (0.0, 0.3):
        model = nn.Sequential(nn.Dropout(rate), nn.Dropout(0.5))
        dropout_rng = lift(model)
        dropout_rng.begin(keys(1)[0])
        found.append(model(torch.ones(100)) != 0)
    # Where the first one keeps an element, the second one decides alike in both models.
    assert torch.equal(found[1], found[0] & found[1])
    assert found[1].sum() / found[0].sum() == pytest.approx(0.7, abs=0.15)


RATES = [0.0, 0.5, 0.1, 0.9]


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout1d, nn.Dropout2d])
def test_a_stack_draws_what_each_model_alone_draws(kind: type[nn.Module]) -> None:
    x = torch.randn(4, 5, 6, 3, generator=torch.Generator().manual_seed(0))
    step = torch.tensor([keys(1, seed)[0] for seed in range(4)], dtype=torch.int32)
    alone = []
    for i, rate in enumerate(RATES):
        model, dropout_rng = lifted(kind(rate))
        dropout_rng.begin(int(step[i]))
        alone.append(model(x[i]))
    expected = torch.stack(alone)

    stand_in, dropout_rng = lifted(kind(0.0))
    (dropout,) = stand_in
    assert isinstance(dropout, LaneDropout)
    dropout.is_active = True
    buffers = [dict(lifted(kind(rate))[0].named_buffers()) for rate in RATES]
    rows = {name: torch.stack([one[name] for one in buffers]) for name in buffers[0]}

    def call(values: dict[str, Tensor], x: Tensor, key: Tensor) -> Tensor:
        dropout_rng.begin(key)
        return torch.func.functional_call(stand_in, values, (x,))

    assert torch.equal(vmap(call)(rows, x, step), expected)
    dropout_rng.begin(step)
    assert torch.equal(Dropout("0.", dropout).forward(x, rows, []), expected)


def test_lifting_finds_every_layer_and_no_other() -> None:
    shared = nn.Dropout(0.2)
    model = nn.ModuleDict(
        {
            "inner": nn.Sequential(nn.Linear(2, 2), shared, nn.Dropout2d(0.3)),
            "again": shared,
            "other": nn.AlphaDropout(0.4),
        }
    ).eval()
    before = list(model.state_dict())
    lift(model)
    inner = model["inner"]
    assert isinstance(inner, nn.Sequential)
    assert isinstance(inner[1], LaneDropout)
    assert model["again"] is inner[1]
    assert [m.p for m in model.modules() if isinstance(m, LaneDropout)] == [0.2, 0.3]
    assert not any(isinstance(module, LIFTED) for module in model.modules())
    assert isinstance(model["other"], nn.AlphaDropout)
    assert not model["again"].training
    assert list(model.state_dict()) == before
    assert repr(model["again"]) == "LaneDropout(p=0.2)"
