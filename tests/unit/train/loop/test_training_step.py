"""Gradient accumulation, float16, compiled models and channels last, beside plain training."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from hpo.spec.space.params import Params
from hpo.train.data.dataset import Splits
from hpo.train.engine import Lane
from hpo.train.loop.compiled_model import CompiledModel
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from tests.kits.stacks import fused
from tests.kits.toy import Blobs, blobs, cut, lane


class Plain(Blobs):
    """Blobs without batch normalisation, whose statistics are those of the small batches."""

    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(
            nn.Linear(2, 16), nn.Dropout(params.dropout), nn.ReLU(), nn.Linear(16, 3)
        )


class Images(Task):
    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def images() -> Splits:
    x = torch.randn(120, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(120) % 3
    return Splits(*cut(x + y.view(-1, 1, 1, 1), y, 72, 24), "classification", tuple("abc"))


def curve(task: Task, splits: Splits, n_epochs: int = 3, **values: Any) -> list[dict[str, float]]:
    engine = SoloEngine(task, splits, "val_accuracy", "maximize")
    assert engine.add(lane(**values)) is None
    reports = [engine.advance()[0] for _ in range(n_epochs)]
    assert [report.failure for report in reports] == [None] * n_epochs
    return [dict(report.metrics) for report in reports]


@pytest.mark.parametrize("mixup", [0.0, 0.5])
@pytest.mark.parametrize("n_train", [90, 70])
def test_accumulated_gradients_are_those_of_a_larger_batch(n_train: int, mixup: float) -> None:
    """Dropout, augmentation and a last batch that is smaller included."""
    x, y = blobs().train.x, blobs().train.y
    splits = Splits(*cut(x, y, n_train - 20, 20), "classification", tuple("abc"))
    common: dict[str, Any] = {
        "optimizer": "adam",
        "dropout": 0.3,
        "augment_noise": 0.1,
        "mixup": mixup,
    }
    whole = curve(Plain(), splits, batch_size=32, **common)
    parts = curve(Plain(), splits, batch_size=8, gradient_accumulation=4, **common)
    for first, second in zip(whole, parts, strict=True):
        assert second == pytest.approx(first, rel=1e-4)


def test_accumulation_takes_no_more_samples_than_there_are() -> None:
    whole = curve(Plain(), blobs(), batch_size="full")
    parts = curve(Plain(), blobs(), batch_size=30, gradient_accumulation=1000)
    assert parts[-1] == pytest.approx(whole[-1], rel=1e-4)


def test_fp16_is_close_to_float32() -> None:
    values: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 16}
    exact, half = (
        curve(Plain(), blobs(), **values),
        curve(Plain(), blobs(), precision="fp16", **values),
    )
    assert half[-1]["train_loss"] == pytest.approx(exact[-1]["train_loss"], rel=0.05)
    assert half != exact


def test_gradients_in_fp16_do_not_vanish() -> None:
    """A gradient of 1e-9 is 0 in float16; scaled it is not."""

    class Small(Plain):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return super().loss(outputs, targets) * 1e-7

    values: dict[str, Any] = {
        "optimizer": "adam",
        "learning_rate": 0.05,
        "eps": 1e-12,
        "batch_size": 16,
    }
    found = curve(Small(), blobs(), 5, precision="fp16", **values)
    assert found[-1]["val_accuracy"] > 0.6


def test_a_step_whose_gradients_overflow_in_fp16_is_left_out() -> None:
    class Large(Plain):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return super().loss(outputs, targets) * 3e4

    engine = SoloEngine(Large(), blobs(), "val_accuracy", "maximize")
    engine.add(lane(precision="fp16", learning_rate=1e-6, batch_size="full"))
    before = {k: v.clone() for k, v in engine.checkpoint(1).model.items()}
    scale = 2.0**16
    for _ in range(4):
        assert engine.advance()[0].failure is None
        saved = engine.checkpoint(1)
        is_same = all(torch.equal(saved.model[name], before[name]) for name in before)
        # Where the scale falls, the weights have stayed.
        assert is_same == (saved.scaler["scale"] < scale)
        before, scale = {k: v.clone() for k, v in saved.model.items()}, saved.scaler["scale"]
    assert scale < 2.0**16


def test_fp16_is_resumed_with_its_scale(tmp_path: Path) -> None:
    values: dict[str, Any] = {"precision": "fp16", "optimizer": "adam", "batch_size": 16}
    expected = curve(Plain(), blobs(), 4, **values)
    engine = SoloEngine(Plain(), blobs(), "val_accuracy", "maximize")
    engine.add(lane(**values))
    for _ in range(2):
        engine.advance()
    engine.save(1, tmp_path / "it.pt")
    other = SoloEngine(Plain(), blobs(), "val_accuracy", "maximize")
    other.add(Lane(1, Params(values), 7, 2, 6, tmp_path / "it.pt", 6))
    assert other.checkpoint(1).scaler == engine.checkpoint(1).scaler != {}
    assert [dict(other.advance()[0].metrics) for _ in range(2)] == expected[2:]


def test_channels_last_changes_the_memory_and_not_the_outcome() -> None:
    seen = []

    class Watched(Images):
        def model(self, params: Params) -> nn.Module:
            model = super().model(params)
            model.register_forward_pre_hook(
                lambda module, inputs: seen.append(
                    inputs[0].is_contiguous(memory_format=torch.channels_last)
                )
            )
            return model

    found = curve(Watched(), images(), channels_last=True, batch_size=24)
    assert seen[0]
    expected = curve(Images(), images(), batch_size=24)
    assert found[-1] == pytest.approx(expected[-1], rel=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_trains_as_it_does_without() -> None:
    values: dict[str, Any] = {"optimizer": "adam", "dropout": 0.3, "batch_size": 30}
    expected = curve(Plain(), blobs(), **values)
    torch._dynamo.utils.counters.clear()
    found = curve(Plain(), blobs(), compile=True, **values)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert found[-1] == pytest.approx(expected[-1], rel=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_where_the_compiler_fails_the_model_trains_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(model: nn.Module) -> Any:
        return torch._dynamo.optimize(lambda graph, inputs: 1 / 0)(model)

    monkeypatch.setattr(torch, "compile", broken)
    with caplog.at_level(logging.WARNING, logger="hpo"):
        found = curve(Plain(), blobs(), compile=True, dropout=0.3)
    assert found == curve(Plain(), blobs(), dropout=0.3)
    (line,) = [r.message for r in caplog.records if "torch.compile" in r.message]
    assert line.startswith("torch.compile failed for Sequential, which trains without it: ")
    assert BackendCompilerFailed.__name__ in line


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_the_model_raises_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("mine")

    monkeypatch.setattr(torch, "compile", lambda model: model)
    with pytest.raises(ValueError, match="mine"):
        CompiledModel(Wrong())(torch.zeros(1))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"gradient_accumulation": 2}, "gradient_accumulation = 2"),
        ({"compile": True}, "compile = true"),
        ({"precision": "fp16"}, 'precision = "fp16"'),
        ({"channels_last": True}, "channels_last = true"),
    ],
)
def test_such_trials_train_beside_stacks(values: dict[str, Any], why: str) -> None:
    """They are no obstacle to others of the same model."""
    engine = fused(Images(), images())
    assert engine.add(lane(key=1, **values)) is None
    assert list(engine.alone.values()) == [f"trials with {why} train alone"]
    engine.remove(1)
    assert engine.add(lane(key=2)) is None
    assert len(engine.alone) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"gradient_accumulation": 0},
            "gradient_accumulation must be a whole number from 1; found 0",
        ),
        ({"compile": "yes"}, "compile must be true or false; found 'yes'"),
        ({"channels_last": 1}, "channels_last must be true or false; found 1"),
        (
            {"precision": "fp61"},
            "precision must be float32, tf32, bf16, fp16; found 'fp61'; did you mean fp16?",
        ),
    ],
)
def test_wrong_values(values: dict[str, Any], message: str) -> None:
    failure = SoloEngine(Images(), images(), "val_accuracy", "maximize").add(lane(**values))
    assert failure is not None
    assert failure.message == message
