"""How many lanes a stack takes, by a clock that the test sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.data.dataset import Splits
from hpo.train.engine import Lane
from hpo.train.fused.admission import autotune, step_timing
from hpo.train.fused.admission.autotune import AutotuneSettings, StackSize, StackSizes
from hpo.train.fused.stack.folds import Folds
from hpo.train.fused.stack.stacked_epoch import StackedEpoch
from hpo.train.task import Task
from tests.kits.stacks import (
    add,
    advance,
    assert_as_alone,
    assert_same_state,
    fused,
    saved,
    sizes_of,
    solo,
)
from tests.kits.toy import Blobs, blobs, lane

CPU = torch.device("cpu")
Patch = pytest.MonkeyPatch


def costing(patch: Patch, cost: Callable[[int], float]) -> list[int]:
    """Lets a step of so many lanes take so many seconds; returns the sizes that were tried."""
    tried: list[int] = []
    original, clock = StackedEpoch.step, SimpleNamespace(now=0.0)

    def step(self: StackedEpoch, i: int) -> Tensor:
        n_lanes = self.n_lanes
        tried.append(n_lanes)
        clock.now += cost(n_lanes)
        return original(self, i)

    patch.setattr(StackedEpoch, "step", step)
    fake = SimpleNamespace(perf_counter=lambda: clock.now, thread_time=lambda: clock.now)
    for module in (autotune, step_timing):
        patch.setattr(module, "time", fake)
    return tried


def lanes(n: int, **values: Any) -> list[Lane]:
    return [lane(seed=i, key=i, learning_rate=0.01 * (i + 1), **values) for i in range(n)]


def wanted(sizes: StackSizes) -> int:
    engine = fused(Blobs(), sizes=sizes)
    add(engine, lanes(1))
    return engine.capacity


@pytest.mark.parametrize("n_best", [2, 8, 32])
def test_doubled_until_it_pays_no_more(n_best: int, monkeypatch: Patch) -> None:
    # Up to n_best lanes take as long as one; from there on all take their share.
    tried = costing(monkeypatch, lambda n: max(1.0, n / n_best))
    told: list[tuple[str, StackSize]] = []
    assert wanted(StackSizes(CPU, tell=lambda *args: told.append(args))) == n_best
    assert max(tried) <= 4 * n_best
    assert [size for _, size in told] == [StackSize(n_best, slowdown=1.0)]
    # Who knows already does not measure.
    tried.clear()
    assert wanted(StackSizes(CPU, known=dict(told))) == n_best
    assert tried == []


def test_lanes_that_share_what_a_loader_reads_pay(monkeypatch: Patch) -> None:
    # More lanes compute no faster, but each batch is read once for all of them.
    costing(monkeypatch, float)
    assert wanted(StackSizes(CPU, most=16)) == 1
    monkeypatch.setattr(Folds, "read_s", lambda self, n: 10.0)
    assert wanted(StackSizes(CPU, most=16)) == 16


@pytest.mark.parametrize(
    "doubtful",
    [
        StackSize(1, slowdown=1.0),
        StackSize(2, slowdown=1.6),
        StackSize(2, slowdown=1.0, age_s=8 * 86400.0),
        StackSize(2, slowdown=None),
    ],
)
def test_what_is_doubtful_is_measured_again(doubtful: StackSize, monkeypatch: Patch) -> None:
    tried = costing(monkeypatch, lambda n: max(1.0, n / 8))
    told: list[tuple[str, StackSize]] = []
    wanted(StackSizes(CPU, tell=lambda *args: told.append(args)))
    known = {digest: doubtful for digest, _ in told}
    assert wanted(StackSizes(CPU, known=known)) == 8
    # Not where nothing can come of it.
    tried.clear()
    assert wanted(StackSizes(CPU, known=known, most=1)) == 1
    assert wanted(StackSizes(CPU, known=known, fixed=4)) == doubtful.lanes
    assert tried == []


def test_one_lane_is_measured_again_later_in_the_same_run(monkeypatch: Patch) -> None:
    alone = True
    tried = costing(monkeypatch, lambda n: 10.0 * n if alone else 10.0)
    sizes = StackSizes(CPU, most=8)
    assert wanted(sizes) == 1
    n_tried = len(tried)
    monkeypatch.setattr(autotune, "SETTINGS", AutotuneSettings(again_s=1e9))
    alone = False
    assert wanted(sizes) == 1
    assert len(tried) == n_tried
    monkeypatch.setattr(autotune, "SETTINGS", AutotuneSettings(again_s=0.0))
    clock = vars(autotune)["time"]
    now = clock.perf_counter
    clock.perf_counter = lambda: now() + 1.0
    assert wanted(sizes) == 8


def test_sizes_are_timed_by_the_processor_while_others_are_at_work(monkeypatch: Patch) -> None:
    """Another process takes the processor away, whichever size it meets."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    spent = SimpleNamespace(now=0.0)
    tried = costing(monkeypatch, lambda n: 1.0)
    clock = vars(autotune)["time"]
    original, waits = StackedEpoch.step, itertools.cycle([0.0, 7.0, 0.0, 0.0, 23.0, 2.0, 0.0, 11.0])

    def step(self: StackedEpoch, i: int) -> Tensor:
        spent.now += 1.0 + next(waits)
        return original(self, i)

    monkeypatch.setattr(StackedEpoch, "step", step)
    fake = SimpleNamespace(perf_counter=lambda: spent.now, thread_time=clock.thread_time)
    monkeypatch.setattr(step_timing, "time", fake)
    told: list[tuple[str, StackSize]] = []
    assert wanted(StackSizes(CPU, most=16, tell=lambda *args: told.append(args))) == 16
    assert max(tried) == 16
    ((_, size),) = told
    # It is right all the same, and will be measured again when it is quiet.
    assert size.is_doubtful


@pytest.mark.slow
def test_what_an_epoch_takes_besides_its_steps_is_shared(monkeypatch: Patch) -> None:
    # Lanes gain nothing from each other but that they are evaluated and written together.
    costing(monkeypatch, lambda n: 1e-4 * n)
    assert wanted(StackSizes(CPU)) >= 8
    costing(monkeypatch, lambda n: 1.0 * n)
    assert wanted(StackSizes(CPU)) == 1


def test_not_more_than_wanted_nor_less(monkeypatch: Patch) -> None:
    tried = costing(monkeypatch, lambda n: 1.0)
    assert wanted(StackSizes(CPU, most=6)) in (4, 6)
    assert max(tried) <= 6
    costing(monkeypatch, lambda n: n**2)
    assert wanted(StackSizes(CPU, least=3)) == 3
    assert wanted(StackSizes(CPU, fixed=5)) == 5


def test_large_models_train_alone(monkeypatch: Patch, tmp_path: Path) -> None:
    costing(monkeypatch, lambda n: n)
    engine = fused(Blobs(), sizes=StackSizes(CPU))
    (one,) = lanes(1)
    add(engine, [one])
    assert engine.capacity == 1
    assert list(engine.alone.values()) == ["more lanes would not be faster"]
    # Its layers are known, so that a stack of one does; torch.optim is not loaded for it.
    assert sizes_of(engine) == [1]
    reports = advance(engine, 2)
    assert_as_alone(engine, [one], reports, lambda: solo(Blobs()), tmp_path)


@pytest.mark.parametrize("n_fit", [1, 4, 8])
def test_as_many_as_there_is_memory_for(n_fit: int, monkeypatch: Patch) -> None:
    def cost(n_lanes: int) -> float:
        if n_lanes > n_fit:
            raise torch.OutOfMemoryError("out of memory")
        return 1.0

    tried = costing(monkeypatch, cost)
    assert wanted(StackSizes(CPU)) == n_fit
    assert max(tried) <= 2 * n_fit


def test_without_memory_for_a_single_one_it_gives_up_at_once(monkeypatch: Patch) -> None:
    def cost(n_lanes: int) -> float:
        raise MemoryError

    tried = costing(monkeypatch, cost)
    assert wanted(StackSizes(CPU)) == 1
    assert max(tried) <= 2


def test_memory_that_runs_out_later_is_remembered(monkeypatch: Patch) -> None:
    told: list[int] = []
    sizes = StackSizes(CPU, fixed=8, least=2, tell=lambda digest, size: told.append(size.lanes))
    engine = fused(Blobs(), sizes=sizes)
    add(engine, lanes(6))
    costing(monkeypatch, lambda n: 1.0)
    original = StackedEpoch.step

    def step(self: StackedEpoch, i: int) -> Tensor:
        if self.n_lanes > 1:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, i)

    monkeypatch.setattr(StackedEpoch, "step", step)
    advance(engine, 4)
    assert sizes_of(engine) == [1] * 6
    assert told[0] == 3
    assert told[-1] == 1
    # Also where more are asked for at least.
    assert wanted(sizes) == 1


def test_measuring_changes_nothing(monkeypatch: Patch, tmp_path: Path) -> None:
    costing(monkeypatch, lambda n: max(1.0, n / 4))
    engine, several = fused(Blobs(), sizes=StackSizes(CPU)), lanes(4, dropout=0.3)
    add(engine, several)
    assert sizes_of(engine) == [4]
    reports = advance(engine, 2)
    assert_as_alone(engine, several, reports, lambda: solo(Blobs()), tmp_path)


def test_a_lane_that_is_through_can_be_the_first(monkeypatch: Patch, tmp_path: Path) -> None:
    costing(monkeypatch, lambda n: max(1.0, n / 4))
    one = lane(epoch_stop=2)
    alone = solo(Blobs())
    add(alone, [one])
    last = advance(alone, 2)[1][-1]
    alone.save(1, tmp_path / "trial.pt")
    engine = fused(Blobs(), sizes=StackSizes(CPU))
    add(engine, [Lane(1, one.params, one.seed, 2, 2, tmp_path / "trial.pt")])
    assert engine.capacity == 4
    assert engine.advance() == [last]
    assert_same_state(saved(engine, 1, tmp_path), saved(alone, 1, tmp_path))


class Linear(Task):
    def model(self, params: Params) -> nn.Module:
        return nn.Linear(2, 3)


def test_a_batch_that_raises_while_it_is_measured() -> None:
    # A class that the model does not have, in every batch but the one that the probe looks at.
    part = blobs().train
    y = part.y.clone()
    y[16:] = 7
    splits = Splits(type(part)(part.x, y), blobs().val, None, "classification")
    engine = fused(Linear(), splits, sizes=StackSizes(CPU))
    add(engine, [lane(batch_size=16)])
    (reason,) = engine.alone.values()
    assert "out of bounds" in reason
    (report,) = engine.advance()
    assert report.failure is not None
    assert report.failure.reason == "user_code"


def test_the_latest_lane_finds_its_place_again(monkeypatch: Patch) -> None:
    sizes = StackSizes(CPU, fixed=4)
    engine = fused(Blobs(), sizes=sizes)
    first, second, third = lanes(3)
    add(engine, [first, second])
    assert engine.capacity == 4
    # Of a structure that gains nothing: from here on there is room for those that are there.
    costing(monkeypatch, lambda n: n)
    monkeypatch.setattr(sizes, "_fixed", None)
    wide = Lane(2, Params({**third.params.asdict(), "width": 7}), 2, 0, 5)
    add(engine, [wide])
    assert engine.capacity == 3
    engine.remove(2)
    assert engine.capacity == 4
    add(engine, [wide])
    assert [report.key for _ in range(2) for report in engine.advance()] == [0, 1, 2]
