"""The solo engine on data sets, against a loop with PyTorch's own loader."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import hpo
from hpo.spec.study_spec import ValidationSpec
from hpo.train.data.loading.loaded_splits import LoadedSplits
from hpo.train.loop.solo import SoloEngine
from hpo.train.recipe.random_streams import derive, sample_order
from hpo.train.task import Task
from tests.kits.toy import Blobs, lane


class Pixels(Dataset[Any]):
    """Small images of bytes whose class is how bright they are."""

    def __init__(self, n: int = 60) -> None:
        generator = torch.Generator().manual_seed(1)
        self.targets = [i % 3 for i in range(n)]
        noise = torch.randint(0, 60, (n, 1, 4, 4), generator=generator)
        self.x = (noise + 90 * torch.tensor(self.targets).view(-1, 1, 1, 1)).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.x[index], self.targets[index]


class Brightness(Task):
    def model(self, params: hpo.Params) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def splits_of(data: hpo.Data, seed: int = 3) -> LoadedSplits:
    (splits,) = data.folds(ValidationSpec())
    assert isinstance(splits, LoadedSplits)
    return splits.seeded_by(seed)


def curve(engine: SoloEngine, n: int = 3, **values: Any) -> list[dict[str, float]]:
    assert engine.add(lane(**values)) is None
    reports = [engine.advance()[0] for _ in range(n)]
    assert [report.failure for report in reports] == [None] * n
    return [dict(report.metrics) for report in reports]


def plain_loop(train: Any, val: Any, n_epochs: int) -> list[dict[str, float]]:
    torch.manual_seed(derive(7, "weights"))
    model = Brightness().model(hpo.Params({}))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    found = []
    for epoch in range(n_epochs):
        total = 0.0
        order = sample_order(len(train), 3, epoch).tolist()
        for x, y in DataLoader(Subset(train, order), batch_size=8):
            loss = functional.cross_entropy(model(x.float() / 255), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        with torch.no_grad():
            outputs = model(val.x.float() / 255)
        y = torch.tensor(val.targets)
        found.append(
            {
                "train_loss": total / len(train),
                "val_loss": functional.cross_entropy(outputs, y).item(),
                "val_accuracy": (outputs.argmax(1) == y).float().mean().item(),
            }
        )
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_as_in_a_plain_loop(workers: int) -> None:
    train, val = Pixels(60), Pixels(21)
    with torch.random.fork_rng(devices=[]):
        expected = plain_loop(train, val, 3)
    splits = splits_of(hpo.Data.datasets(train, val, workers=workers))
    engine = SoloEngine(Brightness(), splits, "val_accuracy", "maximize")
    found = curve(engine, optimizer="sgd", learning_rate=0.1, batch_size=8, momentum=0.0)
    splits.close()
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)


def test_trials_of_a_study_see_one_order_and_another_study_another() -> None:
    data = hpo.Data.datasets(Pixels(), workers=0)
    seen = [
        [batch.targets.tolist() for batch in part.batches([sample_order(36, seed, 0).tolist()])]
        for seed in (3, 3, 4)
        for part in [splits_of(data, seed).train]
    ]
    assert seen[0] == seen[1] != seen[2]


def test_samples_in_memory_and_a_data_set_of_them_come_to_the_same() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(90, 2, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    in_memory = hpo.Data.fixed((x[:60], y[:60]), (x[60:], y[60:]))
    loaded = hpo.Data.datasets(
        TensorDataset(x[:60], y[:60]), TensorDataset(x[60:], y[60:]), workers=0
    )
    # With one batch an epoch the order of the samples does not matter.
    found = [
        curve(SoloEngine(Blobs(), splits, "val_accuracy", "maximize"), batch_size="full")
        for data in (in_memory, loaded)
        for splits in data.folds(ValidationSpec())
    ]
    for ours, theirs in zip(*found, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
