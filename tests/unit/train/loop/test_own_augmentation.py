"""A task's own augmentation of its training batches."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Float, SearchSpace
from hpo.train.checks.task_preview import read_parameters
from hpo.train.data.dataset import Splits
from hpo.train.engine import Lane
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from tests.kits.stacks import fused
from tests.kits.toy import Blobs, blobs, cut, lane


class Noisy(Blobs):
    def augment(self, x: Tensor, params: Params) -> Any:
        noise = torch.randn_like(x) + float(np.random.rand()) + random.random()
        return x.add_(params.get("strength", 0.1) * noise)


def curve(engine: SoloEngine, n: int, **values: Any) -> list[dict[str, float]]:
    assert engine.add(lane(**values)) is None
    return [dict(engine.advance()[0].metrics) for _ in range(n)]


def solo(task: Task, splits: Splits | None = None) -> SoloEngine:
    return SoloEngine(task, splits or blobs(), "val_accuracy", "maximize")


def test_it_changes_training_and_repeats(tmp_path: Path) -> None:
    before = blobs().train.x.clone()
    engine = solo(Noisy())
    found = curve(engine, 4, strength=0.5)
    assert curve(solo(Noisy()), 4, strength=0.5) == found
    assert curve(solo(Noisy()), 4, strength=0.0) == curve(solo(Blobs()), 4)
    assert found != curve(solo(Blobs()), 4)
    assert torch.equal(blobs().train.x, before)
    # Resumed after two epochs, it draws what it would have drawn.
    first = solo(Noisy())
    curve(first, 2, strength=0.5)
    first.save(1, tmp_path / "it.pt")
    resumed = solo(Noisy())
    resumed.add(Lane(1, Params({"strength": 0.5}), 7, 2, 6, tmp_path / "it.pt", 6))
    assert [dict(resumed.advance()[0].metrics) for _ in range(2)] == found[2:]


def test_validation_sees_the_samples_as_they_are() -> None:
    class Zero(Blobs):
        def augment(self, x: Tensor, params: Params) -> Any:
            return torch.zeros_like(x)

        def model(self, params: Params) -> nn.Module:
            return nn.Linear(2, 3)

    engine = solo(Zero())
    engine.add(lane(learning_rate=1e-12))
    metrics = engine.advance()[0].metrics
    assert metrics["val_loss"] != pytest.approx(metrics["train_loss"], rel=1e-3)


def test_hpos_own_augmentation_comes_after_it() -> None:
    both = curve(solo(Noisy()), 2, augment_noise=0.3, mixup=0.4)
    assert both not in (
        curve(solo(Noisy()), 2),
        curve(solo(Blobs()), 2, augment_noise=0.3, mixup=0.4),
    )


def test_trials_of_such_tasks_train_alone() -> None:
    engine = fused(Noisy(), blobs())
    assert engine.add(lane(strength=0.5)) is None
    assert list(engine.alone.values()) == ["the task brings its own augment()"]
    assert dict(engine.advance()[0].metrics) == curve(solo(Noisy()), 1, strength=0.5)[0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "Wrong.augment must return the samples; found nothing (is a return missing?)"),
        (
            torch.zeros(5, 2),
            "Wrong.augment must return as many samples as it is given, 32; found 5",
        ),
    ],
)
def test_what_it_must_return(returned: Any, message: str) -> None:
    class Wrong(Blobs):
        def augment(self, x: Tensor, params: Params) -> Any:
            return returned

    engine = solo(Wrong())
    engine.add(lane())
    failure = engine.advance()[0].failure
    assert failure is not None
    assert (failure.reason, failure.message) == ("user_code", message)


def test_parameters_that_it_reads_have_an_effect() -> None:
    space = SearchSpace({"strength": Float(0.0, 1.0), "strenght": Float(0.0, 1.0)})
    report = read_parameters(Noisy(), space, blobs())
    assert "strength" in report.read
    assert [problem.key for problem in report.problems] == ["space.strenght"]


def test_transforms_of_torchvision() -> None:
    """Without torchvision nothing here shows that they work."""
    v2 = pytest.importorskip("torchvision.transforms.v2")

    class Images(Task):
        transform = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(8, padding=2)])

        def augment(self, x: Tensor, params: Params) -> Any:
            return self.transform(x)

        def model(self, params: Params) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))

    x = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    splits = Splits(*cut(x, torch.arange(60) % 3, 40, 10), "classification", tuple("abc"))
    assert curve(solo(Images(), splits), 2) == curve(solo(Images(), splits), 2)
