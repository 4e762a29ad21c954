"""What becomes of a lane when others come, go, fail, or take the memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.engine import EpochReport, Lane
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.fused.stack.stacked_epoch import StackedEpoch
from tests.contracts.train.fused.test_fused_hyperparameters import Rich
from tests.kits.stacks import (
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
from tests.kits.toy import Blobs, blobs, lane

Patch = pytest.MonkeyPatch


def some(n: int, **values: Any) -> list[Lane]:
    """Lanes of one signature that differ in all else."""
    return [
        lane(
            seed=30 + i,
            epoch_stop=12,
            key=i,
            **{
                "optimizer": "adamw",
                "learning_rate": 0.002 * (i + 1),
                "dropout": i % 3 * 0.3,
                "grad_clip": i % 4 * 0.2,
                **values,
            },
        )
        for i in range(n)
    ]


def references(lanes: list[Lane], n_epochs: int) -> dict[int, list[EpochReport]]:
    found: dict[int, list[EpochReport]] = {}
    for one in lanes:
        alone = solo(Rich())
        add(alone, [one])
        found |= advance(alone, n_epochs)
    return found


@pytest.mark.parametrize("n_lanes", [1, 2, 17])
@pytest.mark.parametrize("is_first", [True, False])
def test_the_number_of_lanes_and_the_place_among_them_change_nothing(
    n_lanes: int, is_first: bool, tmp_path: Path
) -> None:
    mine = replace(some(5)[4], key=99)
    others = some(n_lanes - 1)
    engine = fused(Rich())
    add(engine, [mine, *others] if is_first else [*others, mine])
    reports = advance(engine, 4)
    assert sizes_of(engine) == [n_lanes]
    assert_as_alone(engine, [mine], reports, lambda: solo(Rich()), tmp_path)


def test_neighbours_leave_and_others_join_half_way(tmp_path: Path) -> None:
    engine, lanes = fused(Rich()), some(9)
    reports: dict[int, list[EpochReport]] = {}
    for leaving, joining in (([], [0, 1, 2, 3]), ([0], [4, 5]), ([3, 4], []), ([1], [6, 7, 8])):
        for key in leaving:
            engine.remove(key)
        add(engine, [lanes[key] for key in joining])
        for key, found in advance(engine, 2).items():
            reports[key] = reports.get(key, []) + found
    assert sizes_of(engine) == [5]
    stayed = [lanes[key] for key in (2, 5, 6, 7, 8)]
    assert [len(reports[one.key]) for one in stayed] == [8, 6, 2, 2, 2]
    assert_as_alone(engine, stayed, reports, lambda: solo(Rich()), tmp_path)


def test_lanes_that_reach_their_stop_report_it_and_make_room(tmp_path: Path) -> None:
    engine = fused(Rich())
    lanes = [replace(one, epoch_stop=stop) for one, stop in zip(some(4), (3, 1, 2, 3), strict=True)]
    add(engine, lanes)
    sizes, reports = [], []
    for _ in range(3):
        reports.append({key: found[0] for key, found in advance(engine).items()})
        sizes.append(sizes_of(engine)[0])
    assert sizes == [3, 2, 0]
    # Those that are through say once more how they ended.
    assert reports[2][1] == reports[1][1] == reports[0][1]
    assert [engine.epoch(one.key) for one in lanes] == [3, 1, 2, 3]
    for one in lanes:
        mine = {one.key: [reports[i][one.key] for i in range(one.epoch_stop)]}
        assert_as_alone(engine, [one], mine, lambda: solo(Rich()), tmp_path)


def test_a_lane_that_its_checkpoint_brought_to_its_end_is_whole(tmp_path: Path) -> None:
    one = lane(dropout=0.5, epoch_stop=2, optimizer="adam")
    alone, engine = solo(Blobs()), fused(Blobs())
    add(alone, [one])
    last = advance(alone, 2)[1][-1]
    alone.save(1, tmp_path / "trial.pt")
    add(engine, [replace(one, epoch=2, checkpoint=tmp_path / "trial.pt"), lane(8, key=2)])
    assert advance(engine)[1] == [last]
    assert engine.test(1) == alone.test(1)
    assert_same_state(saved(engine, 1, tmp_path), saved(alone, 1, tmp_path))
    files = []
    for source in (engine, alone):
        source.export(1, tmp_path / "model.pt")
        files.append(torch.load(tmp_path / "model.pt", weights_only=True))
    assert repr(files[0]) == repr(files[1])


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_diverging_lane_touches_no_other(clip: float, tmp_path: Path) -> None:
    # The same number of lanes in both runs: one diverges in the first epoch, or ends with it.
    results = []
    for bad in (
        lane(9, epoch_stop=12, key=9, optimizer="adamw", learning_rate=1e30, grad_clip=clip),
        lane(9, epoch_stop=1, key=9, optimizer="adamw"),
    ):
        engine, lanes = fused(Rich()), some(3)
        add(engine, [lanes[0], bad, *lanes[1:]])
        reports = advance(engine, 4)
        failed = [report.failure is not None for report in reports[9]]
        assert failed == ([True] if bad.epoch_stop > 1 else [False] * 4)
        results.append((reports, [saved(engine, key, tmp_path) for key in range(3)]))
    (found, states), (expected, others) = results
    for key in range(3):
        assert [dict(r.metrics) for r in found[key]] == [dict(r.metrics) for r in expected[key]]
        for name, tensor in states[key].model.items():
            assert torch.equal(tensor, others[key].model[name]), name


def test_a_lane_in_the_place_of_one_that_diverged(tmp_path: Path) -> None:
    engine, lanes = fused(Rich()), some(4, grad_clip=0.3)
    bad = lane(9, key=9, optimizer="adamw", learning_rate=1e30, grad_clip=0.1)
    add(engine, [*lanes[:2], bad])
    reports = advance(engine)
    failure = reports.pop(9)[0].failure
    assert failure is not None
    assert failure.reason == "nan"
    engine.remove(9)
    add(engine, lanes[2:3])
    for key, found in advance(engine, 2).items():
        reports[key] = reports.get(key, []) + found
    assert_as_alone(engine, lanes[:3], reports, lambda: solo(Rich()), tmp_path)


def when(
    patch: Patch, error: Exception, is_time: Callable[[StackedEpoch, int], bool]
) -> Callable[[], int]:
    """Lets a step raise; returns how often it did."""
    original, n = StackedEpoch.step, 0

    def step(self: StackedEpoch, i: int) -> Tensor:
        nonlocal n
        if is_time(self, i):
            n += 1
            raise error
        return original(self, i)

    patch.setattr(StackedEpoch, "step", step)
    return lambda: n


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), MemoryError()])
def test_out_of_memory_halves_the_stack_and_loses_nothing(
    error: Exception, tmp_path: Path, monkeypatch: Patch
) -> None:
    engine, lanes = fused(Rich()), some(7)
    add(engine, [replace(lanes[0], epoch_stop=1), *lanes[1:]])
    reports = advance(engine)
    # In the middle of an epoch, when some steps have been taken.
    n_raised = when(monkeypatch, error, lambda epoch, i: i == 2 and epoch.n_lanes > 2)
    later = advance(engine, 3)
    while min(len(later[key]) for key in range(1, 7)) < 3:
        for key, found in advance(engine).items():
            later[key] = (later.get(key, []) + found)[:3]
    assert n_raised() >= 2
    assert max(sizes_of(engine)) <= 2
    assert sum(sizes_of(engine)) == 6
    assert engine.alone == {}
    expected = references(lanes, 1 + max(map(len, later.values())))
    for key in range(1, 7):
        found = reports[key] + later[key]
        assert_same_reports(found, expected[key][: len(found)])
    assert reports[0] == later[0][:1]
    # The next lane goes to a stack that has a place, and there is none of more than that.
    add(engine, [replace(lanes[0], key=50)])
    advance(engine, 2)
    assert max(sizes_of(engine)) <= 2


def test_lanes_that_are_through_take_no_memory(monkeypatch: Patch) -> None:
    engine, lanes = fused(Rich()), some(6)
    add(engine, [replace(one, epoch_stop=1) for one in lanes[:4]] + lanes[4:])
    advance(engine)
    error = torch.OutOfMemoryError("out of memory")
    n_raised = when(monkeypatch, error, lambda epoch, i: epoch.n_lanes > 1)
    advance(engine, 2)
    assert (sorted(sizes_of(engine)), n_raised()) == ([1, 1], 1)
    assert list(engine.alone.values()) == ["there is no memory for two lanes"]


def test_a_single_lane_without_memory_trains_alone(monkeypatch: Patch) -> None:
    engine, lanes = fused(Rich()), some(1)
    add(engine, lanes)
    when(monkeypatch, torch.OutOfMemoryError("out of memory"), lambda epoch, i: True)
    reports = advance(engine, 2)
    assert_same_reports(reports[0], references(lanes, 2)[0])
    assert [reason.partition(":")[0] for reason in engine.alone.values()] == [
        "the stack raised OutOfMemoryError"
    ]


def turns(engine: FusedEngine, n: int) -> dict[int, list[EpochReport]]:
    """Lets whatever has its turn train, some times; returns reports by key."""
    found: dict[int, list[EpochReport]] = {}
    for report in [report for _ in range(n) for report in engine.advance()]:
        found.setdefault(report.key, []).append(report)
    return found


def test_an_exception_dissolves_the_stack_and_each_goes_on_alone(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    engine, lanes = fused(Rich()), some(4)
    lanes[3] = replace(lanes[3], epoch_stop=2)
    bad = lane(9, key=9, optimizer="adamw", learning_rate=1e30)
    add(engine, [*lanes, bad])
    advance(engine, 2)
    when(monkeypatch, RuntimeError("a kernel that does not exist"), lambda epoch, i: i == 1)
    reports = turns(engine, 8)
    # One that is through is still there, and one that has failed says nothing more.
    assert sorted(reports) == [0, 1, 2, 3]
    assert {report.epoch for report in reports.pop(3)} == {2}
    assert engine.best(3)[0] > 0
    assert engine.best(9) == (0, {})
    expected = references(lanes, 8)
    for key, found in reports.items():
        assert len(found) >= 2
        assert_same_reports(found, expected[key][2 : 2 + len(found)])
    assert list(engine.alone.values()) == [
        "the stack raised RuntimeError: a kernel that does not exist"
    ]
    # What comes later trains alone at once, and everything can be forgotten.
    engine.remove(9)
    for one in lanes:
        engine.remove(one.key)
    assert sizes_of(engine) == []
    add(engine, [replace(lanes[0], key=50)])
    assert_same_reports(turns(engine, 2)[50], references([replace(lanes[0], key=50)], 2)[50])


class Flaky(Rich):
    """Builds no more models once it is told so."""

    is_broken = False

    def model(self, params: Params) -> nn.Module:
        if self.is_broken:
            raise OSError("the file of the weights is gone")
        return super().model(params)


def test_lanes_that_cannot_go_on_alone_fail(monkeypatch: Patch) -> None:
    task = Flaky()
    engine = fused(task)
    add(engine, some(2))
    advance(engine)
    task.is_broken = True
    when(monkeypatch, RuntimeError("broken"), lambda epoch, i: True)
    reports = advance(engine, 2)
    failures = [report.failure for key in range(2) for report in reports[key]]
    assert len(failures) == 2
    assert all(f and "the file of the weights is gone" in f.message for f in failures)
    for key in range(2):
        assert engine.epoch(key) == 1
        engine.remove(key)
    assert sizes_of(engine) == []


def test_signatures_take_turns(tmp_path: Path) -> None:
    engine = fused(Blobs())
    lanes = [lane(key=i, width=4 + 4 * (i % 2), learning_rate=0.01 * (i + 1)) for i in range(5)]
    add(engine, lanes)
    assert sizes_of(engine) == [3, 2]
    keys = [sorted(report.key for report in engine.advance()) for _ in range(4)]
    assert keys == [[0, 2, 4], [1, 3], [0, 2, 4], [1, 3]]
    for one in lanes:
        alone = solo(Blobs())
        add(alone, [one])
        advance(alone, 2)
        assert_same_state(saved(engine, one.key, tmp_path), saved(alone, one.key, tmp_path))


def test_a_metric_that_the_task_does_not_produce_ends_each_lane() -> None:
    engine, lanes = fused(Rich(), metric="val_acuracy"), some(2)
    bad = lane(9, key=9, optimizer="adamw", learning_rate=1e30)
    add(engine, [bad, *lanes])
    (report,) = engine.advance()
    assert (report.key, report.epoch) == (9, 1)
    reports = [*engine.advance(), *engine.advance()]
    assert [report.key for report in reports] == [one.key for one in lanes]
    for report in reports:
        assert report.failure is not None
        assert "did you mean val_accuracy?" in report.failure.message


def test_the_data_is_the_same_afterwards() -> None:
    class InPlace(Blobs):
        def model(self, params: Params) -> nn.Module:
            return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 3), nn.Hardtanh())

    data = blobs()
    before = [part.x.clone() for part in (data.train, data.val)]
    engine = fused(InPlace(), data)
    add(engine, some(3))
    advance(engine, 2)
    engine.test(0)
    assert engine.alone == {}
    assert torch.equal(data.train.x, before[0])
    assert torch.equal(data.val.x, before[1])
