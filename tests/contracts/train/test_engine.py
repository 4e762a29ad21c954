"""Our engines keep to the conformance suite, and to what a user of each relies on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from hpo.spec.space.params import Params
from hpo.testing.engines import EngineTestCase, PartEngineTestCase
from hpo.train.data.dataset import Splits
from hpo.train.engine import Engine, EpochReport, PartEngine
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.loop.fold_engine import FoldEngine
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from tests.kits.toy import Blobs, Slopes, blobs, lane, slopes

Make: TypeAlias = Callable[..., PartEngine]


def fused(
    task: Task,
    splits: Splits | Sequence[Splits],
    metric: str,
    direction: str,
    device: str = "cpu",
) -> PartEngine:
    """The fused engine with stacks of up to five lanes, whatever is faster here."""
    sizes = StackSizes(torch.device("cpu"), fixed=5)
    return FusedEngine(task, splits, metric, direction, device, sizes)


ENGINES: dict[str, Make] = {"solo": SoloEngine, "fused": fused}


class TestSoloEngine(PartEngineTestCase):
    @override
    def make_engine(
        self, task: Task, splits: Splits | Sequence[Splits], metric: str, direction: str
    ) -> PartEngine:
        return SoloEngine(task, splits, metric, direction)


class TestFusedEngine(PartEngineTestCase):
    @override
    def make_engine(
        self, task: Task, splits: Splits | Sequence[Splits], metric: str, direction: str
    ) -> PartEngine:
        return fused(task, splits, metric, direction)


@pytest.mark.parametrize("inner", ENGINES.values(), ids=ENGINES.keys())
class TestFoldEngine(EngineTestCase):
    """Trials of two seeds each."""

    @pytest.fixture(autouse=True)
    def _make_inner(self, inner: Make) -> None:
        self.inner = inner

    @override
    def make_engine(self, task: Task, splits: Splits, metric: str, direction: str) -> Engine:
        inner = self.inner(task, splits, metric, direction)
        return FoldEngine(inner, (metric,), direction, n_folds=1, n_seeds=2)


@pytest.fixture(params=list(ENGINES.values()), ids=list(ENGINES))
def make(request: pytest.FixtureRequest) -> Make:
    def build(task: Task | None = None, **changes: Any) -> PartEngine:
        arguments = {"splits": blobs(), "metric": "val_accuracy", "direction": "maximize"}
        return request.param(task or Blobs(), **{**arguments, **changes}, device="cpu")

    return build


def train(engine: Engine, n_epochs: int) -> list[EpochReport]:
    reports = [report for _ in range(n_epochs) for report in engine.advance()]
    assert [report.failure for report in reports] == [None] * n_epochs
    return reports


def test_regression_reports_its_metrics(make: Make) -> None:
    engine = make(Slopes(), splits=slopes(), metric="val_mse", direction="minimize")
    engine.add(lane(learning_rate=0.1, batch_size=8))
    report = train(engine, 6)[-1]
    assert list(report.metrics) == ["train_loss", "val_loss", "val_mse", "val_mae", "val_r2"]
    assert report.metrics["val_r2"] > 0.99
    assert engine.best(1)[1]["val_mse"] < 0.02


def test_a_task_that_has_changed_begins_again(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Changed(Blobs):
        def model(self, params: Params) -> nn.Module:
            return nn.Linear(2, 3)

    old, new = make(), make(Changed())
    old.add(lane())
    train(old, 1)
    old.save(1, tmp_path / "trial.pt")
    assert new.add(replace(lane(), epoch=1, checkpoint=tmp_path / "trial.pt")) is None
    assert new.epoch(1) == 0
    assert "does not fit the task" in caplog.text


class Raises(Blobs):
    def __init__(self, where: str, error: Exception) -> None:
        self.where, self.error = where, error

    def _at(self, where: str) -> None:
        if where == self.where:
            raise self.error

    def model(self, params: Params) -> nn.Module:
        self._at("model")
        return super().model(params)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self._at("loss")
        return super().loss(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        self._at("metrics")
        return dict(super().metrics(outputs, targets))


@pytest.mark.parametrize("where", ["model", "loss", "metrics"])
def test_an_exception_of_the_task_ends_the_trial_with_its_traceback(make: Make, where: str) -> None:
    engine = make(Raises(where, ValueError("broken on purpose")))
    failure = engine.add(lane())
    if where != "model":
        assert failure is None
        (report,) = engine.advance()
        failure = report.failure
        assert report.epoch == 1
        engine.remove(1)
    assert failure is not None
    assert failure.reason == "user_code"
    assert "Traceback" in failure.message
    assert f"in {where}" in failure.message
    assert failure.message.endswith("ValueError: broken on purpose\n")
    # The engine has room for the next trial.
    assert make().add(lane()) is None
