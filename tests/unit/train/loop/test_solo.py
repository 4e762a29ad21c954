"""The solo engine against a training loop as anybody would write it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from hpo.spec.space.params import Params
from hpo.train.data.dataset import Part, Splits
from hpo.train.loop.solo import SoloEngine
from hpo.train.recipe.random_streams import derive
from hpo.train.task import Task
from tests.kits.toy import Blobs, Digits, Slopes, blobs, digits, lane, slopes


def plain_loop(n_epochs: int, batch_size: int, make: Any) -> list[dict[str, float]]:
    """Trains the digits MLP with 2 layers of 64; returns what each epoch came to."""
    data, seed, found = digits(), 7, []
    torch.manual_seed(derive(seed, "weights"))
    layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    model = nn.Sequential(*layers)
    optimizer = make(model.parameters())
    for epoch in range(n_epochs):
        generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
        order = torch.randperm(len(data.train), generator=generator)
        total = 0.0
        model.train()
        for batch in order.split(batch_size):
            loss = functional.cross_entropy(model(data.train.x[batch]), data.train.y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        model.eval()
        with torch.no_grad():
            outputs = model(data.val.x)
        found.append(
            {
                "train_loss": total / len(data.train),
                "val_loss": functional.cross_entropy(outputs, data.val.y).item(),
                "val_accuracy": (outputs.argmax(1) == data.val.y).float().mean().item(),
            }
        )
    return found


@pytest.mark.parametrize(
    ("batch_size", "values", "make"),
    [
        (
            64,
            {"momentum": 0.9, "weight_decay": 1e-4, "learning_rate": 0.05},
            lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-4, fused=True),
        ),
        (
            256,
            {"optimizer": "adam", "learning_rate": 0.01},
            lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
        ),
    ],
)
def test_as_in_a_plain_loop(batch_size: int, values: dict[str, Any], make: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        expected = plain_loop(3, batch_size, make)
    engine = SoloEngine(Digits(), digits(), "val_accuracy", "maximize")
    assert engine.add(lane(depth=2, width=64, batch_size=batch_size, **values)) is None
    found = [dict(engine.advance()[0].metrics) for _ in range(3)]
    # To the last bit; only the mean over the batches is taken in another order.
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.pop("train_loss") == pytest.approx(theirs.pop("train_loss"), rel=1e-12)
        assert ours == theirs


def test_penalties_change_the_gradient_and_not_the_loss() -> None:
    curves = {}
    for name in ("l1", "weight_decay", "learning_rate"):
        engine = SoloEngine(Slopes(), slopes(), "val_mse", "minimize")
        values: dict[str, Any] = {"learning_rate": 0.1, "batch_size": "full", name: 0.1}
        engine.add(lane(**values))
        curves[name] = [engine.advance()[0].metrics["train_loss"] for _ in range(3)]
    # The first loss is of the same weights, later ones are not.
    assert len({curve[0] for curve in curves.values()}) == 1
    assert len({curve[2] for curve in curves.values()}) == 3


def test_label_smoothing_is_for_training_only() -> None:
    found = []
    for rate in (0.0, 0.5):
        engine = SoloEngine(Blobs(), blobs(), "val_accuracy", "maximize")
        engine.add(lane(learning_rate=1e-12, batch_size="full", label_smoothing=rate))
        found.append(engine.advance()[0].metrics)
    assert found[0]["train_loss"] != found[1]["train_loss"]
    assert found[0]["val_loss"] == pytest.approx(found[1]["val_loss"])


def test_a_single_sample_that_is_left_over() -> None:
    splits = blobs()
    train = Part(splits.train.x[:65], splits.train.y[:65])
    engine = SoloEngine(
        Blobs(), Splits(train, splits.val, None, "classification"), "val_loss", "minimize"
    )
    assert engine.add(lane(batch_size=32)) is None
    assert engine.advance()[0].failure is None


def test_noise_differs_by_trial_and_epoch() -> None:
    class Noisy(Blobs):
        def metrics(self, outputs: Tensor, targets: Tensor) -> Any:
            return {"noise": torch.rand(())}

    drawn = []
    for seed in (7, 8):
        engine = SoloEngine(Noisy(), blobs(), "val_noise", "maximize")
        engine.add(lane(seed))
        drawn += [engine.advance()[0].metrics["val_noise"] for _ in range(3)]
    assert len(set(drawn)) == 6


class OwnParts(Task):
    """Two groups of parameters, one of them frozen half-way; a loss of its own."""

    def model(self, params: Params) -> nn.Module:
        model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
        model[0].bias.requires_grad_(False)
        return model

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.multi_margin_loss(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        return {"hits": int((outputs.argmax(1) == targets).sum())}

    def optimizer(self, model: nn.Module, params: Params) -> Optimizer | None:
        if params.get("standard", False):
            return None
        assert isinstance(model, nn.Sequential)
        groups = [
            {"params": [model[0].weight], "lr": 0.5},
            {"params": list(model[2].parameters()), "lr": 0.25},
        ]
        return torch.optim.SGD(groups)


def test_a_task_with_parts_of_its_own() -> None:
    engine = SoloEngine(OwnParts(), blobs(), "val_hits", "maximize")
    # What its own optimizer does not read is not looked at.
    failure = engine.add(lane(schedule="exponential", gamma=0.5, learning_rate=-1.0))
    assert failure is None
    reports = [engine.advance()[0] for _ in range(3)]
    assert [report.learning_rate for report in reports] == [0.5, 0.25, 0.125]
    assert list(reports[0].metrics) == ["train_loss", "val_loss", "val_hits"]
    assert type(reports[0].metrics["val_hits"]) is float


def test_a_task_may_leave_the_optimizer_to_the_engine() -> None:
    engine = SoloEngine(OwnParts(), blobs(), "val_hits", "maximize")
    failure = engine.add(lane(standard=True, learning_rate=-1.0))
    assert failure is not None
    assert failure.message == "learning_rate must be above 0; found -1.0"
    assert engine.add(lane(standard=True, learning_rate=0.5)) is None
    assert engine.advance()[0].learning_rate == 0.5


def test_frozen_parameters_stay() -> None:
    class Frozen(Blobs):
        def model(self, params: Params) -> nn.Module:
            return nn.Linear(2, 3).requires_grad_(False)

    failure = SoloEngine(Frozen(), blobs(), "val_accuracy", "maximize").add(lane())
    assert failure is not None
    assert failure.message == "the model has no parameters to train"


def test_a_model_must_be_a_module() -> None:
    class Wrong(Blobs):
        def model(self, params: Params) -> Any:
            return [nn.Linear(2, 3)]

    failure = SoloEngine(Wrong(), blobs(), "val_accuracy", "maximize").add(lane())
    assert failure is not None
    assert failure.message == "Wrong.model must return an nn.Module; found list"


def test_a_metric_must_be_one_number() -> None:
    class Wrong(Blobs):
        def metrics(self, outputs: Tensor, targets: Tensor) -> Any:
            return {"each": outputs.argmax(1) == targets}

    engine = SoloEngine(Wrong(), blobs(), "val_each", "maximize")
    engine.add(lane())
    failure = engine.advance()[0].failure
    assert failure is not None
    assert failure.message == "the task's each must be a single number; found Tensor of shape [30]"


def test_data_are_not_written_into() -> None:
    class InPlace(Blobs):
        def model(self, params: Params) -> nn.Module:
            return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 3))

    before = blobs().val.x.clone()
    engine = SoloEngine(InPlace(), blobs(), "val_accuracy", "maximize")
    engine.add(lane())
    engine.advance()
    engine.test(1)
    assert torch.equal(blobs().val.x, before)


def test_the_exact_batches_of_full() -> None:
    sizes = []

    class Watched(Blobs):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            sizes.append(len(targets))
            return super().loss(outputs, targets)

    for batch_size in ("full", 1000, 40):
        engine = SoloEngine(Watched(), blobs(), "val_accuracy", "maximize")
        engine.add(lane(batch_size=batch_size))
        engine.advance()
    n_val = len(blobs().val)
    assert sizes == [90, n_val, 90, n_val, 40, 40, 10, n_val]
