"""Augmentation: what it does to samples, and that a lane's is that of its trial alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Fixed, SearchSpace
from hpo.train.checks.task_preview import read_parameters
from hpo.train.data.dataset import Splits
from hpo.train.recipe.augmentation import AUGMENTATIONS, Augmentation
from hpo.train.recipe.counter_based_dropout import step_keys
from hpo.train.recipe.random_streams import derive
from hpo.train.task import Task
from tests.kits.stacks import (
    ABSOLUTE,
    RELATIVE,
    add,
    advance,
    assert_as_alone,
    fused,
    saved,
    sizes_of,
    solo,
)
from tests.kits.toy import Blobs, blobs, cut, lane

N_STEPS = 40


def augment(x: Tensor, seed: int = 3, **values: float) -> tuple[Augmentation, list[Tensor]]:
    """What each step of an epoch makes of the samples of one lane."""
    keys = torch.from_numpy(step_keys(derive(seed, "noise", 0), N_STEPS)).unsqueeze(1)
    found = Augmentation.of([values], [seed], [0], keys, x)
    assert found is not None
    return found, [found.inputs(i, x.unsqueeze(0)).squeeze(0) for i in range(N_STEPS)]


def images(n: int = 6, size: int = 8) -> Tensor:
    return 1 + torch.rand(n, 2, size, size, generator=torch.Generator().manual_seed(0))


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """An image [C, H, W] that was moved, by PyTorch's padding."""
    return functional.pad(image, (right, -right, down, -down))


def test_noise_is_normal() -> None:
    x = torch.zeros(50, 4, 3)
    _, steps = augment(x, augment_noise=0.5)
    values = torch.stack(steps).flatten()
    assert stats.kstest(values.numpy(), stats.norm(0, 0.5).cdf).pvalue > 1e-3
    assert abs(float(torch.corrcoef(torch.stack(steps[:2]).flatten(1))[0, 1])) < 0.15


def test_shifts_are_those_of_padding_and_reach_both_ends() -> None:
    x, seen = images(), set[tuple[int, int]]()
    _, steps = augment(x, augment_shift=0.25)
    offsets = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    for step in steps:
        for before, after in zip(x, step, strict=True):
            (offset,) = (o for o in offsets if torch.equal(moved(before, *o), after))
            seen.add(offset)
    assert len(seen) >= 23


def test_sequences_are_shifted_in_time() -> None:
    x = 1 + torch.rand(5, 10, 3, generator=torch.Generator().manual_seed(0))
    _, steps = augment(x, augment_shift=0.2)
    for step in steps:
        for before, after in zip(x, step, strict=True):
            shifts = [functional.pad(before, (0, 0, by, -by)) for by in range(-2, 3)]
            assert sum(torch.equal(shift, after) for shift in shifts) == 1


def test_flips_are_those_of_pytorch_and_as_frequent_as_told() -> None:
    x = images(20)
    _, steps = augment(x, augment_flip=0.3)
    flipped = torch.stack([(step == x.flip(-1)).flatten(1).all(1) for step in steps])
    kept = torch.stack([(step == x).flatten(1).all(1) for step in steps])
    assert torch.equal(flipped, ~kept)
    assert float(flipped.float().mean()) == pytest.approx(0.3, abs=0.05)
    assert torch.equal(augment(x, augment_flip=1.0)[1][0], x.flip(-1))


def test_cutout_is_a_square_that_may_lie_outside_in_part() -> None:
    x, sizes = images(), set[tuple[int, int]]()
    _, steps = augment(x, augment_cutout=0.5)
    for step in steps:
        for before, after in zip(x, step, strict=True):
            is_cut = after[0] == 0
            assert torch.equal(after, before.masked_fill(is_cut, 0))
            rows, columns = is_cut.any(1), is_cut.any(0)
            assert torch.equal(is_cut, rows[:, None] & columns)
            sizes.add((int(rows.sum()), int(columns.sum())))
    assert max(sizes) == (4, 4)
    assert {height for height, _ in sizes} == {2, 3, 4}


def test_mixup_shares_are_of_the_beta_distribution() -> None:
    found = [augment(torch.rand(4, 2), seed, mixup=0.4)[0].shares for seed in range(30)]
    shares = torch.cat([one.flatten() for one in found if one is not None])
    assert stats.kstest(shares.numpy(), stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


class Linear(Task):
    """A linear model: what it learns of a mixture is easily written down."""

    def model(self, params: Params) -> nn.Module:
        return nn.Linear(2, 3)


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_mixup_trains_as_its_paper_says(engine: str, tmp_path: Path) -> None:
    made = (solo if engine == "solo" else fused)(Linear())
    mine = lane(seed=5, key=9, learning_rate=0.2, batch_size=16, mixup=0.7)
    others = [] if engine == "solo" else [lane(seed=6, key=1, batch_size=16)]
    add(made, [*others, mine])
    advance(made, 2)

    part = blobs().train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(5, "weights"))
        model = nn.Linear(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    for epoch in range(2):
        generator = torch.Generator().manual_seed(derive(5, "order", epoch))
        batches = torch.randperm(len(part), generator=generator).split(16)
        keys = torch.zeros(len(batches), 1, dtype=torch.int32)
        shares = Augmentation.of([{"mixup": 0.7}], [5], [epoch], keys, part.x)
        assert shares is not None
        assert shares.shares is not None
        for share, batch in zip(shares.shares[:, 0], batches, strict=True):
            x, y = part.x[batch], functional.one_hot(part.y[batch], 3).float()
            # Cross-entropy is linear in its targets: mixed ones are the same as a mixed loss.
            mixed = [share * each + (1 - share) * each.roll(1, 0) for each in (x, y)]
            optimizer.zero_grad()
            functional.cross_entropy(model(mixed[0]), mixed[1]).backward()
            optimizer.step()
    found = saved(made, 9, tmp_path).model
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=RELATIVE, atol=ABSOLUTE)


@cache
def samples(*shape: int) -> Splits:
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(90) % 3
    x = y.view(-1, *[1] * len(shape)) * 0.5 + torch.randn(90, *shape, generator=generator)
    return Splits(*cut(x, y, 54, 18), "classification", tuple("abc"))


class Images(Task):
    def __init__(self, n_in: int) -> None:
        self.n_in = n_in

    def model(self, params: Params) -> nn.Module:
        layers = [nn.Flatten(), nn.Linear(self.n_in, 5), nn.ReLU(), nn.Dropout(params.dropout)]
        return nn.Sequential(*layers, nn.Linear(5, 3))


STRENGTHS: list[dict[str, Any]] = [
    {},
    {"augment_noise": 0.3, "mixup": 0.4, "augment_shift": 0.3},
    {"augment_flip": 0.5, "augment_cutout": 0.5, "mixup": 2.0},
    {"augment_shift": 0.5, "augment_flip": 1.0, "augment_noise": 1.0, "loss": "cross_entropy"},
]


@pytest.mark.parametrize("shape", [(6,), (6, 2), (1, 6, 4)], ids=["vector", "sequence", "image"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_a_lane_is_its_trial_alone(shape: tuple[int, ...], loss: str, tmp_path: Path) -> None:
    splits = samples(*shape)
    task = Images(splits.n_features)
    engine = fused(task, splits)
    lanes = [
        lane(seed=i, key=i, batch_size=16, dropout=0.2, learning_rate=0.1, **{**own, "loss": loss})
        for i, own in enumerate(STRENGTHS)
    ]
    add(engine, lanes)
    reports = advance(engine, 3)
    assert (sizes_of(engine), engine.alone) == ([4], {})
    assert_as_alone(engine, lanes, reports, lambda: solo(task, splits), tmp_path)


def test_every_strength_changes_what_is_learnt() -> None:
    splits = samples(1, 6, 4)
    task = Images(splits.n_features)
    names = list(AUGMENTATIONS)
    engine = fused(task, splits)
    values: list[dict[str, Any]] = [{}, *({name: 0.5} for name in names)]
    add(engine, [lane(key=i, **own) for i, own in enumerate(values)])
    losses = [reports[-1].metrics["train_loss"] for reports in advance(engine, 2).values()]
    assert len(set(losses)) == len(names) + 1


def test_what_samples_cannot_take_has_no_effect_and_is_told() -> None:
    space = SearchSpace(
        {"augment_flip": Fixed(0.5), "augment_shift": Fixed(0.1), "dropout": Fixed(0.0)}
    )
    report = read_parameters(Blobs(), space, blobs())
    messages = {problem.key: problem.message for problem in report.problems}
    assert messages == {
        "space.augment_flip": "has no effect here; it is read by samples of images",
        "space.augment_shift": "has no effect here; it is read by samples of images or sequences",
    }
    reports = []
    given: list[dict[str, Any]] = [{}, {"augment_flip": 1.0}]
    for values in given:
        engine = solo(Blobs())
        add(engine, [lane(dropout=0.0, **values)])
        reports.append(dict(advance(engine)[1][0].metrics))
    assert reports[0] == reports[1]
