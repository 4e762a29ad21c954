"""Stacks on data sets of a loader: each item is read once for all lanes, and lanes are as alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.spec.space.params import Params
from hpo.spec.study_spec import ValidationSpec
from hpo.train.data.dataset import Data
from hpo.train.data.loading.loaded_splits import LoadedSplits
from hpo.train.engine import EpochReport, Lane
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.loop.fold_engine import with_parts
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from tests.contracts.train.fused.test_fused_tasks import Built, Net
from tests.kits.item_sets import ItemSet, item_sets, loaded, pixels, three_classes
from tests.kits.stacks import (
    ABSOLUTE,
    RELATIVE,
    add,
    advance,
    assert_as_alone,
    assert_same_reports,
    assert_same_state,
    fused,
    saved,
    sizes_of,
    solo,
)
from tests.kits.tape import recording
from tests.kits.toy import lane

Sets = tuple[ItemSet, ItemSet, ItemSet]


class Pictures(Task):
    """A convolution with all that remembers: batch normalization and dropout."""

    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.Dropout2d(params.dropout),
            nn.Flatten(),
            nn.Linear(144, 3),
        )


class Flat(Task):
    """A chain of known layers, which is computed without ``vmap``."""

    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(128, 6), nn.ReLU(), nn.Dropout(params.dropout), nn.Linear(6, 3)
        )


def images() -> Sets:
    return item_sets(pixels(), three_classes())


def lanes_of(n: int, **values: Any) -> list[Lane]:
    return [
        lane(
            seed=i,
            key=i,
            epoch_stop=9,
            **{"learning_rate": 0.02 * (i + 1), "dropout": 0.1 * i, "batch_size": 16, **values},
        )
        for i in range(n)
    ]


def assert_fused(task: Task, splits: LoadedSplits, lanes: list[Lane], folder: Path) -> FusedEngine:
    engine = fused(task, splits)
    add(engine, lanes)
    reports = advance(engine, 3)
    assert (sizes_of(engine), engine.alone) == ([len(lanes)], {})
    assert_as_alone(engine, lanes, reports, lambda: solo(task, splits), folder)
    return engine


@pytest.mark.parametrize("task", [Pictures(), Flat()], ids=lambda task: type(task).__name__)
@pytest.mark.parametrize("batch_size", [16, 53, "full"])
def test_a_lane_is_its_trial_alone(task: Task, batch_size: int | str, tmp_path: Path) -> None:
    lanes = lanes_of(3, batch_size=batch_size)
    assert_fused(task, loaded(images()), lanes, tmp_path)


def test_eight_lanes_read_each_item_once_an_epoch() -> None:
    sets = images()
    engine = fused(Pictures(), loaded(sets))
    add(engine, lanes_of(8))
    for one in sets:
        one.reads.clear()
    advance(engine, 2)
    assert sizes_of(engine) == [8]
    for one, n_epochs in zip(sets, (2, 2, 0), strict=True):
        assert [one.reads[i] for i in range(len(one))] == [n_epochs] * len(one)


def test_lanes_at_different_epochs_have_their_own_orders(tmp_path: Path) -> None:
    task, splits, lanes = Pictures(), loaded(sets := images()), lanes_of(5)
    engine, reports = fused(task, splits), dict[int, list[EpochReport]]()
    for joining in ([0, 1], [2], [3, 4]):
        add(engine, [lanes[key] for key in joining])
        for one in sets:
            one.reads.clear()
        for key, found in advance(engine).items():
            reports[key] = reports.get(key, []) + found
    # Epochs 3, 2 and 1 in one stack: three passes over the items to train on, and one for all
    # lanes over those to validate on.
    assert sizes_of(engine) == [5]
    assert [set(one.reads.values()) for one in sets] == [{3}, {1}, set()]
    assert [len(reports[key]) for key in range(5)] == [3, 3, 2, 1, 1]
    assert_as_alone(engine, lanes, reports, lambda: solo(task, splits), tmp_path)


def test_a_lane_prefers_the_stack_that_reads_its_epoch_anyway() -> None:
    sizes = StackSizes(torch.device("cpu"), fixed=2)
    engine, lanes = fused(Flat(), loaded(images()), sizes=sizes), lanes_of(6)
    # As with parts of trials, which come in any number.
    engine.serve(1)
    add(engine, lanes[:2])
    advance(engine)
    add(engine, lanes[2:4])
    # Both stacks have room then: one is at epoch 1, the other at the beginning.
    for key in (0, 2):
        engine.remove(key)
    add(engine, lanes[4:5])
    assert engine._trainers[4] is engine._trainers[3]


def test_a_trial_resumes_in_the_other_engine(tmp_path: Path) -> None:
    task, splits, (one, *others) = Pictures(), loaded(images()), lanes_of(3)
    whole = solo(task, splits)
    add(whole, [one])
    expected = advance(whole, 4)[one.key]
    first, second = fused(task, splits), fused(task, splits)
    add(first, [one, *others])
    found = advance(first, 2)[one.key]
    first.save(one.key, tmp_path / "trial.pt")
    add(second, [*others, replace(one, epoch=2, checkpoint=tmp_path / "trial.pt")])
    found += advance(second, 2)[one.key]
    assert_same_reports(found, expected)
    assert_same_state(saved(second, one.key, tmp_path), saved(whole, one.key, tmp_path))


def test_augmentation_is_each_lane_s_own(tmp_path: Path) -> None:
    strengths: list[dict[str, Any]] = [
        {},
        {"augment_flip": 0.5, "mixup": 0.4},
        {"augment_shift": 0.3, "augment_noise": 0.2, "augment_cutout": 0.5},
    ]
    lanes = [
        replace(one, params=Params({**one.params.asdict(), **own}))
        for one, own in zip(lanes_of(3), strengths, strict=True)
    ]
    engine = assert_fused(Flat(), loaded(images()), lanes, tmp_path)
    assert len({engine.best(key)[1]["train_loss"] for key in range(3)}) == 3


def test_bytes_are_converted_once_for_all_lanes() -> None:
    shapes = []

    class Watched(Flat):
        def prepare(self, inputs: Any) -> Any:
            shapes.append((tuple(inputs.shape), inputs.dtype))
            return super().prepare(inputs)

    engine = fused(Watched(), loaded(images()))
    add(engine, lanes_of(4))
    shapes.clear()
    advance(engine)
    rows = [16, 16, 16, 6, 18]
    assert shapes == [((n, 2, 8, 8), torch.uint8) for n in rows]


def several(kind: str) -> tuple[Any, Callable[[Params], nn.Module]]:
    """Inputs of two tensors, and a model that takes them."""
    a, b = pixels(4).flatten(1), torch.randn(84, 5, generator=torch.Generator().manual_seed(2))

    def model(params: Params) -> nn.Module:
        return TwoInputs(params)

    return (a, b) if kind == "tuple" else {"a": a, "b": b}, model


class TwoInputs(nn.Module):
    def __init__(self, params: Params) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(32, 4), nn.Linear(5, 4)
        self.dropout, self.head = nn.Dropout(params.dropout), nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(a) + self.second(b))
        found: Tensor = self.head(self.dropout(hidden))
        return found


@pytest.mark.parametrize("kind", ["tuple", "dict"])
@pytest.mark.parametrize("passes", ["one", "several"])
def test_several_inputs(kind: str, passes: str, tmp_path: Path) -> None:
    inputs, model = several(kind)
    splits, lanes = loaded(item_sets(inputs, three_classes())), lanes_of(3)
    if passes == "one":
        assert_fused(Built(model), splits, lanes, tmp_path)
        return
    engine = fused(Built(model), splits)
    add(engine, lanes[:2])
    reports = advance(engine)
    add(engine, lanes[2:])
    for key, found in advance(engine, 2).items():
        reports[key] = reports.get(key, []) + found
    assert sizes_of(engine) == [3]
    assert_as_alone(engine, lanes, reports, lambda: solo(Built(model), splits), tmp_path)


class TwoOutputs(Flat):
    """A model that returns a tuple, with a loss and metrics of the task's own."""

    def model(self, params: Params) -> nn.Module:
        def forward(self: Any, x: Tensor) -> Any:
            hidden = torch.tanh(self.body(x.flatten(1)))
            return self.classes(hidden), self.score(hidden).squeeze(-1)

        body, classes, score = nn.Linear(128, 6), nn.Linear(6, 3), nn.Linear(6, 1)
        return Net(forward, body=body, classes=classes, score=score)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        logits, score = outputs
        return functional.cross_entropy(logits, targets) + functional.mse_loss(score, targets * 1.0)

    def metrics(self, outputs: Any, targets: Any) -> Mapping[str, float | Tensor]:
        logits, score = outputs
        return {
            "accuracy": (logits.argmax(-1) == targets).float().mean(),
            "error": (score - targets).abs().mean(),
        }


def test_outputs_that_are_tuples(tmp_path: Path) -> None:
    assert_fused(TwoOutputs(), loaded(images()), lanes_of(3), tmp_path)


@pytest.mark.parametrize("epochs", ["equal", "different"])
def test_steps_of_a_loader_are_replayed(
    epochs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tapes = recording(monkeypatch)
    task, splits, lanes = Pictures(), loaded(images()), lanes_of(3)
    engine, reports = fused(task, splits), dict[int, list[EpochReport]]()
    if epochs == "different":
        add(engine, lanes[:2])
        reports = advance(engine)
        lanes, late = lanes[:2], lanes[2:]
        add(engine, late)
        lanes += late
    else:
        add(engine, lanes)
    for key, found in advance(engine, 3).items():
        reports[key] = reports.get(key, []) + found
    # Three batches of 16 and one of 6: each kind begins as usual, then it is recorded.
    assert [tape.n_replays for tape in tapes[-2:]] == [3 * 3 - 1, 3 - 1]
    assert_as_alone(engine, lanes, reports, lambda: solo(task, splits), tmp_path)


class Sequences(ItemSet):
    """Sequences of 3 to 14 steps."""

    def __getitem__(self, i: int) -> Any:
        x, y = super().__getitem__(i)
        return x[: 3 + 5 * i % 12], y


def padded(items: list[Any]) -> Any:
    xs, ys = zip(*items, strict=True)
    return nn.utils.rnn.pad_sequence(list(xs), batch_first=True), torch.stack(ys)


def test_batches_of_many_shapes_are_not_all_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        found: Tensor = self.head(torch.tanh(self.into(x)).sum(1))
        return found

    tapes, x = (
        recording(monkeypatch),
        torch.randn(84, 14, 2, generator=torch.Generator().manual_seed(3)),
    )
    first, second, third = item_sets(x, three_classes())
    for one in (first, second, third):
        one.__class__ = Sequences
    splits = loaded((first, second, third), collate=padded)
    task = Built(lambda params: Net(forward, into=nn.Linear(2, 4), head=nn.Linear(4, 3)))
    lanes = lanes_of(2, batch_size=2)
    engine = fused(task, splits)
    add(engine, lanes)
    reports = advance(engine, 2)
    assert (len(tapes), engine.alone) == (8, {})
    assert_as_alone(engine, lanes, reports, lambda: solo(task, splits), tmp_path)


class Unseeded(Pictures):
    """A model that draws its own random numbers."""

    def model(self, params: Params) -> nn.Module:
        def forward(self: Any, x: Tensor) -> Tensor:
            found: Tensor = self.head((x + 0.1 * torch.randn_like(x)).flatten(1))
            return found

        return Net(forward, head=nn.Linear(128, 3))


def test_what_cannot_be_stacked_trains_alone(tmp_path: Path) -> None:
    splits, lanes = loaded(images()), lanes_of(1)
    engine = fused(Unseeded(), splits)
    add(engine, lanes)
    reports = advance(engine, 2)
    (reason,) = engine.alone.values()
    assert "draws random numbers" in reason
    assert_as_alone(engine, lanes, reports, lambda: solo(Unseeded(), splits), tmp_path)


@pytest.mark.slow
def test_loading_processes_read_for_a_stack(tmp_path: Path) -> None:
    splits = loaded(images(), workers=2)
    try:
        assert_fused(Flat(), splits, lanes_of(3), tmp_path)
    finally:
        splits.close()


class Broken(ItemSet):
    """A data set of which one item cannot be read."""

    def __getitem__(self, i: int) -> Any:
        if i == 7:
            raise OSError("truncated file")
        return super().__getitem__(i)


def test_an_item_that_cannot_be_read_ends_the_lanes_and_is_named() -> None:
    sets = images()
    engine = fused(Flat(), loaded(sets))
    add(engine, lanes_of(2))
    advance(engine)
    sets[0].__class__ = Broken
    reports = [report for _ in range(3) for report in engine.advance()]
    assert sorted(report.key for report in reports) == [0, 1]
    for report in reports:
        assert report.failure is not None
        assert report.failure.reason == "user_code"
        assert "item 7 of the training data set cannot be read" in report.failure.message
        assert "truncated file" in report.failure.message


@pytest.mark.parametrize(("n_folds", "n_seeds"), [(3, 1), (1, 2)])
def test_folds_and_seeds_on_a_loader(n_folds: int, n_seeds: int) -> None:
    whole = ItemSet(pixels(), three_classes(), range(72))
    spec = ValidationSpec(folds=n_folds if n_folds > 1 else None, seeds=n_seeds)
    data = Data.datasets(whole, workers=0, classes=3, test_fraction=0.0)
    folds = [one.seeded_by(5) for one in data.folds(spec) if isinstance(one, LoadedSplits)]
    metric, found = ("val_loss",), []
    sizes = StackSizes(torch.device("cpu"), fixed=8)
    for engine in (
        FusedEngine(Flat(), folds, metric, "minimize", sizes=sizes),
        SoloEngine(Flat(), folds, metric, "minimize"),
    ):
        parts = with_parts(engine, spec, metric, "minimize")
        add(parts, lanes_of(1))
        whole.reads.clear()
        (report,) = advance(parts, 2)[0][-1:]
        found.append((dict(report.metrics), sum(whole.reads.values())))
    (metrics, n_read), (expected, n_alone) = found
    assert metrics == pytest.approx(expected, rel=RELATIVE, abs=ABSOLUTE)
    # Folds have samples of their own; seeds have the same, which a stack reads once.
    assert n_read <= n_alone / n_seeds
