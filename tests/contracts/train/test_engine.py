"""What every engine keeps to, whatever is inside it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.engine import Engine, EpochReport, Lane
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from tests.kits.toy import Blobs, Slopes, blobs, lane, slopes

Make: TypeAlias = Callable[..., Engine]


def fused(*arguments: Any, **named: Any) -> Engine:
    """The fused engine with stacks of up to five lanes, whatever is faster here."""
    return FusedEngine(*arguments, **named, sizes=StackSizes(torch.device("cpu"), fixed=5))


ENGINES: dict[str, Make] = {"solo": SoloEngine, "fused": fused}
TRICKY: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": "sgd", "learning_rate": 0.05},
    "momentum": {"optimizer": "nesterov", "learning_rate": 0.05, "schedule": "cosine"},
    "adagrad": {"optimizer": "adagrad", "schedule": "step", "step_size": 2, "gamma": 0.5},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5, "schedule": "exponential"},
    "adam": {"optimizer": "adam", "schedule": "cosine", "warmup_epochs": 2, "grad_clip": 0.5},
    "adamw": {"optimizer": "adamw", "label_smoothing": 0.1, "l1": 1e-4, "batch_size": "full"},
}


@pytest.fixture(params=ENGINES.values(), ids=ENGINES.keys())
def make(request: pytest.FixtureRequest) -> Make:
    def build(task: Task | None = None, **changes: Any) -> Engine:
        arguments = {"splits": blobs(), "metric": "val_accuracy", "direction": "maximize"}
        return request.param(task or Blobs(), **{**arguments, **changes}, device="cpu")

    return build


def train(engine: Engine, n_epochs: int) -> list[EpochReport]:
    reports = [report for _ in range(n_epochs) for report in engine.advance()]
    assert [report.failure for report in reports] == [None] * n_epochs
    return reports


def curve(reports: list[EpochReport]) -> list[Any]:
    return [(r.key, r.epoch, dict(r.metrics), r.learning_rate) for r in reports]


def exported(engine: Engine, key: int, folder: Path) -> dict[str, Any]:
    engine.export(key, folder / "model.pt")
    return torch.load(folder / "model.pt", weights_only=True)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("values", TRICKY.values(), ids=TRICKY.keys())
def test_a_trial_goes_on_as_if_never_interrupted(
    make: Make, values: dict[str, Any], tmp_path: Path
) -> None:
    whole = lane(**{"dropout": 0.3, "batch_size": 16, "weight_decay": 1e-3, **values})
    through = make()
    assert through.add(whole) is None
    expected = curve(train(through, 6))

    found: list[Any] = []
    path, stand = tmp_path / "trial.pt", whole
    for n_epochs in (1, 3, 2):
        engine = make()
        assert engine.add(stand) is None
        found += curve(train(engine, n_epochs))
        engine.save(1, path)
        stand = replace(whole, epoch=len(found), checkpoint=path)
    assert found == expected
    assert engine.best(1) == through.best(1)
    assert engine.test(1) == through.test(1)
    weights = [exported(e, 1, tmp_path)["state_dict"] for e in (engine, through)]
    assert equal(*weights)


def test_a_lane_follows_from_its_seed_alone(make: Make) -> None:
    engine, curves = make(), []
    for key, seed in enumerate((7, 8, 7)):
        torch.manual_seed(key)
        assert engine.add(lane(seed, key=key, dropout=0.5)) is None
        curves.append([dict(r.metrics) for r in train(engine, 3)])
        engine.remove(key)
    assert curves[0] == curves[2]
    assert curves[0] != curves[1]


def test_the_process_generators_are_left_alone(make: Make) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    engine = make()
    engine.add(lane(dropout=0.5))
    train(engine, 2)
    engine.test(1)
    assert torch.equal(torch.rand(3), expected)


def test_reports_say_it_all(make: Make) -> None:
    engine = make()
    engine.add(lane(learning_rate=0.25))
    (report,) = engine.advance()
    assert (report.key, report.epoch, report.learning_rate) == (1, 1, 0.25)
    assert list(report.metrics) == ["train_loss", "val_loss", "val_accuracy"]
    assert report.seconds > 0
    assert report.samples_per_s == pytest.approx(90 / report.seconds)
    assert engine.epoch(1) == 1


def test_regression_reports_its_metrics(make: Make) -> None:
    engine = make(Slopes(), splits=slopes(), metric="val_mse", direction="minimize")
    engine.add(lane(learning_rate=0.1, batch_size=8))
    report = train(engine, 6)[-1]
    assert list(report.metrics) == ["train_loss", "val_loss", "val_mse", "val_mae", "val_r2"]
    assert report.metrics["val_r2"] > 0.99
    assert engine.best(1)[1]["val_mse"] < 0.02


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_epoch_is_kept(make: Make, direction: str, tmp_path: Path) -> None:
    engine = make(direction=direction)
    assert engine.add(lane(dropout=0.5, learning_rate=0.5, batch_size=8)) is None
    assert engine.best(1) == (0, {})
    reports = train(engine, 6)
    values = [report.metrics["val_accuracy"] for report in reports]
    pick = max if direction == "maximize" else min
    first = values.index(pick(values)) + 1
    assert engine.best(1) == (first, reports[first - 1].metrics)

    file = exported(engine, 1, tmp_path)
    assert (file["epoch"], file["metrics"]) == engine.best(1)
    assert file["params"]["dropout"] == 0.5
    model = Blobs().model(Params(file["params"])).eval()
    model.load_state_dict(file["state_dict"])
    hits = model(blobs().test.x).argmax(-1) == blobs().test.y
    assert engine.test(1)["test_accuracy"] == pytest.approx(hits.float().mean().item())


def test_testing_does_not_change_the_training(make: Make) -> None:
    plain, tested = make(direction="minimize"), make(direction="minimize")
    for engine in (plain, tested):
        engine.add(lane(dropout=0.5, learning_rate=0.5))
        train(engine, 3)
    # It takes other weights than the present ones.
    assert tested.best(1)[0] < 3
    tested.test(1)
    assert curve(train(plain, 2)) == curve(train(tested, 2))


def test_without_a_test_split_there_is_nothing_to_test(make: Make) -> None:
    engine = make(splits=replace(blobs(), test=None))
    engine.add(lane())
    train(engine, 1)
    assert engine.test(1) == {}


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", b"PK\x05\x06" + 18 * b"\0"])
def test_without_a_usable_checkpoint_a_trial_begins_again(
    make: Make, content: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    engine.add(lane())
    expected = curve(train(engine, 2))
    engine.remove(1)
    path = tmp_path / "trial.pt"
    if content is not None:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert engine.add(replace(lane(), epoch=4, checkpoint=path)) is None
    assert "starts from epoch 0" in caplog.text
    assert engine.epoch(1) == 0
    assert curve(train(engine, 2)) == expected


@pytest.mark.parametrize("other", [lane(8), lane(width=16), lane(learning_rate=0.2)])
def test_the_checkpoint_of_another_trial_is_not_used(
    make: Make, other: Lane, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    engine.add(lane())
    train(engine, 1)
    engine.save(1, tmp_path / "trial.pt")
    engine.remove(1)
    assert engine.add(replace(other, epoch=1, checkpoint=tmp_path / "trial.pt")) is None
    assert engine.epoch(1) == 0
    assert "another trial" in caplog.text


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


def test_a_trial_that_was_saved_at_its_end_reports_once_more(make: Make, tmp_path: Path) -> None:
    engine = make()
    engine.add(lane(epoch_stop=2))
    last = train(engine, 2)[-1]
    engine.save(1, tmp_path / "trial.pt")
    engine.remove(1)
    engine.add(replace(lane(epoch_stop=2), epoch=2, checkpoint=tmp_path / "trial.pt"))
    assert train(engine, 1) == [last]
    assert engine.best(1)[0] > 0


def test_a_schedule_spans_the_full_trial_whatever_the_assignment(make: Make) -> None:
    rates = []
    for epoch_stop in (3, 12):
        engine = make()
        engine.add(replace(lane(schedule="cosine"), epoch_stop=epoch_stop, horizon=12))
        rates.append([r.learning_rate for r in train(engine, 3)])
    assert rates[0] == rates[1]


def test_a_diverging_trial_ends_as_nan(make: Make) -> None:
    engine = make(Slopes(), splits=slopes(), metric="val_mse", direction="minimize")
    engine.add(lane(learning_rate=1e30))
    reports = engine.advance() + engine.advance()
    assert reports[-1].failure is not None
    assert reports[-1].failure.reason == "nan"
    assert "loss is" in reports[-1].failure.message
    assert engine.advance() == []


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


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("where", ["model", "loss"])
def test_out_of_memory_is_told_apart(make: Make, where: str, error: Exception) -> None:
    engine = make(Raises(where, error))
    failure = engine.add(lane())
    if failure is None:
        failure = engine.advance()[0].failure
    assert failure is not None
    assert failure.reason == "oom"
    assert "memory" in failure.message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate must be above 0; found -1.0"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1; found 1.0"),
        ({"optimizer": "adm"}, "did you mean adam?"),
        ({"batch_size": 0}, 'batch_size must be a whole number from 1 or "full"; found 0'),
        ({"dropout": 2.0}, "dropout must be"),
    ],
)
def test_impossible_params_are_named(make: Make, values: dict[str, Any], message: str) -> None:
    failure = make().add(lane(**values))
    assert failure is not None
    assert message in failure.message
    assert "Traceback" not in failure.message


def test_a_metric_that_the_task_does_not_produce(make: Make) -> None:
    engine = make(metric="val_acuracy")
    engine.add(lane())
    (report,) = engine.advance()
    assert report.failure is not None
    assert report.failure.reason == "user_code"
    assert "val_acuracy; did you mean val_accuracy?" in report.failure.message


def test_capacity_is_kept_to(make: Make) -> None:
    engine, key = make(), 0
    while key < engine.capacity:
        assert engine.add(lane(key=key)) is None
        key += 1
    with pytest.raises(ValueError, match="no place"):
        engine.add(lane(key=-1))
    engine.remove(0)
    engine.remove(0)
    assert engine.add(lane(key=-1)) is None
