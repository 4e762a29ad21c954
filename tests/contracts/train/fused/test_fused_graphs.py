"""Steps that are recorded and replayed, with a stand-in for CUDA graphs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.data.dataset import Splits
from hpo.train.engine import EpochReport, Lane
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.fused.stack.stack import Stack
from hpo.train.fused.stack.stacked_epoch import StackedEpoch
from hpo.train.recipe.optimizers import OPTIMIZERS
from hpo.train.task import Task
from tests.contracts.train.fused.test_fused_batches import ByVmap, Plain, lanes_of, shared
from tests.contracts.train.fused.test_fused_hyperparameters import Rich
from tests.contracts.train.fused.test_fused_tasks import IMAGES, STEPS, Net
from tests.kits.stacks import add, advance, assert_as_alone, fused, saved, sizes_of, solo
from tests.kits.tape import Tape, Waits, Watch, recording
from tests.kits.toy import blobs


class Convolutional(Task):
    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            # Smooth: with ReLU rounding alone may switch a feature on or off.
            nn.Tanh(),
            nn.Dropout2d(params.dropout),
            nn.Flatten(),
            nn.Linear(144, 3),
        )


class Smooth(Task):
    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Dropout2d(params.dropout), nn.Flatten(),
            nn.Linear(144, 3),
        )  # fmt: skip


class Recurrent(Task):
    def model(self, params: Params) -> nn.Module:
        parts = {"gru": nn.GRU(4, 6, batch_first=True), "head": nn.Linear(6, 3)}
        return Net(lambda self, x: self.head(self.gru(x)[0][:, -1]), **parts)


TASKS: dict[str, tuple[Task, Splits]] = {
    "layers": (Rich(), blobs()),
    "vmap": (ByVmap(), blobs()),
    "convolution": (Convolutional(), IMAGES),
    "recurrent": (Recurrent(), STEPS),
}
OPTIMIZER_NAMES = list(OPTIMIZERS)


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """All recordings that engines begin, in their order."""
    return recording(monkeypatch)


def replayed(tapes: list[Tape]) -> list[int]:
    return [tape.n_replays for tape in tapes]


def plain(n: int, **values: Any) -> list[Lane]:
    """Lanes of one batch size."""
    rate = 0.001 if values.get("optimizer") == "rmsprop" else 0.004
    return lanes_of(**{"optimizer": "adamw", "rate": rate, **values}, batches=[16] * n)


@pytest.mark.parametrize("case", TASKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_replayed_steps_are_the_steps(
    case: str, optimizer: str, tapes: list[Tape], tmp_path: Path
) -> None:
    task, splits = TASKS[case]
    lanes, engine = plain(4, optimizer=optimizer, momentum=0.5), fused(task, splits)
    add(engine, lanes)
    reports = advance(engine, 3)
    assert (sizes_of(engine), engine.alone) == ([4], {})
    # Batches of 16, and a smaller one that ends each epoch.
    n_steps = -(-len(splits.train) // 16)
    assert replayed(tapes) == [3 * (n_steps - 1) - 1, 2]
    assert_as_alone(engine, lanes, reports, lambda: solo(task, splits), tmp_path)


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
def test_replay_is_the_same_to_the_last_bit(
    optimizer: str, tapes: list[Tape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes, recorded = plain(3, optimizer=optimizer), fused(Rich())
    add(recorded, lanes)
    found = advance(recorded, 3)
    assert sum(replayed(tapes)) > 0
    monkeypatch.undo()
    eager = fused(Rich())
    add(eager, lanes)
    expected = advance(eager, 3)
    for one in lanes:
        metrics = [[dict(r.metrics) for r in each[one.key]] for each in (found, expected)]
        assert metrics[0] == metrics[1]
        states = [saved(engine, one.key, tmp_path).model for engine in (recorded, eager)]
        assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_lanes_join_and_leave(tapes: list[Tape], tmp_path: Path) -> None:
    lanes, engine = plain(7), fused(Rich())
    reports: dict[int, list[EpochReport]] = {}
    n_made = []
    for leaving, joining in (([], [0, 1, 2]), ([], []), ([1], [3]), ([0, 2], []), ([], [4, 5, 6])):
        for key in leaving:
            engine.remove(key)
        add(engine, [lanes[key] for key in joining])
        for key, found in advance(engine).items():
            reports[key] = reports.get(key, []) + found
        n_made.append(len(tapes))
    # Two kinds of steps; those of as many lanes in the same rows serve on, whoever they are.
    assert n_made[:2] == [2, 2]
    assert n_made[3:] == [n_made[2] + 2, n_made[2] + 4]
    stayed = [lanes[key] for key in (3, 4, 5, 6)]
    assert_as_alone(engine, stayed, reports, lambda: solo(Rich()), tmp_path)


def test_another_lane_in_the_same_row_uses_what_was_recorded(
    tapes: list[Tape], tmp_path: Path
) -> None:
    lanes, engine = (
        plain(4, dropout=0.3, grad_clip=0.2, label_smoothing=0.1, l1=0.01),
        fused(Rich()),
    )
    lanes = [replace(one, params=Params({**one.params.asdict(), "weight_decay": 0.1 + 0.1 * i}))
             for i, one in enumerate(lanes)]  # fmt: skip
    add(engine, lanes[:3])
    advance(engine, 2)
    engine.remove(1)
    add(engine, lanes[3:])
    before = replayed(tapes)
    reports = advance(engine, 2)
    assert len(tapes) == 2
    assert replayed(tapes) == [before[0] + 2 * 5, before[1] + 2]
    assert_as_alone(engine, lanes[3:], reports, lambda: solo(Rich()), tmp_path)


def test_a_hyperparameter_that_changes_the_kernels_is_recorded_anew(
    tapes: list[Tape], tmp_path: Path
) -> None:
    lanes, engine = plain(3, grad_clip=0.0), fused(Rich())
    clipped = lanes_of(grad_clip=0.05, batches=[16] * 4)[3]
    add(engine, lanes)
    advance(engine, 2)
    engine.remove(2)
    add(engine, [clipped])
    reports = advance(engine, 2)
    assert len(tapes) == 4
    assert_as_alone(engine, [clipped], reports, lambda: solo(Rich()), tmp_path)


def test_micro_batches_are_replayed(tapes: list[Tape], tmp_path: Path) -> None:
    lanes, engine = lanes_of(), shared(Plain())
    add(engine, lanes)
    reports = advance(engine, 3)
    # All but the last complete somebody's batch; the last one is of two samples.
    assert replayed(tapes) == [3 * 11 - 1, 2]
    assert_as_alone(engine, lanes, reports, lambda: solo(Plain()), tmp_path)


def test_steps_that_complete_no_batch_are_of_another_kind(
    tapes: list[Tape], tmp_path: Path
) -> None:
    lanes, engine = lanes_of(batches=[32, 32, "full"]), shared(Plain(), batches=[8, 32, "full"])
    add(engine, lanes)
    reports = advance(engine, 2)
    # 90 samples: 9 micro-steps, 2 that complete a batch, and the last, in each of two epochs.
    assert sorted(replayed(tapes)) == [1, 2 * 2 - 1, 2 * 9 - 1]
    assert_as_alone(engine, lanes, reports, lambda: solo(Plain()), tmp_path)


def test_a_step_that_cannot_be_recorded_is_taken_as_usual(
    tapes: list[Tape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    original = StackedEpoch.take

    def take(self: StackedEpoch, feed: Any, *, updates: bool = True) -> Tensor:
        found = original(self, feed, updates=updates)
        float(found.sum())
        return found

    monkeypatch.setattr(StackedEpoch, "take", take)
    lanes, engine = plain(3), fused(Rich())
    add(engine, lanes)
    reports = advance(engine, 2)
    assert [r.message for r in caplog.records if r.name.endswith("graphs")] == [
        "steps of a stack are not recorded: "
        "operation not permitted while recording: _local_scalar_dense"
    ]
    assert replayed(tapes) == [0]
    assert_as_alone(engine, lanes, reports, lambda: solo(Rich()), tmp_path)


def test_out_of_memory_while_recording_halves_the_stack(
    tapes: list[Tape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, lanes, engine = Tape.record, plain(4), fused(Rich())

    def record(self: Tape, step: Any) -> Tensor:
        if engine._turns[0].n_training > 2 or sizes_of(engine) == [4]:  # type: ignore[union-attr]
            raise torch.OutOfMemoryError("out of memory")
        return original(self, step)

    monkeypatch.setattr(Tape, "record", record)
    add(engine, lanes)
    assert engine.advance()
    reports = {report.key: [report] for report in engine.advance()}
    assert sizes_of(engine) == [2, 2]
    assert sum(replayed(tapes)) > 0
    mine = [one for one in lanes if one.key in reports]
    assert_as_alone(engine, mine, reports, lambda: solo(Rich()), tmp_path)


# Batch normalization looks at the whole batch.
ADDING_UP = {**TASKS, "layers": (Plain(), blobs()), "convolution": (Smooth(), IMAGES)}


@pytest.mark.parametrize("case", TASKS)
@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
@pytest.mark.parametrize("batches", ["one", "several"])
def test_no_step_waits_for_the_device(
    case: str, optimizer: str, batches: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if batches == "one":
        lanes, engine = plain(3, optimizer=optimizer), fused(*TASKS[case])
    else:
        lanes, engine = lanes_of(optimizer), shared(*ADDING_UP[case])
    add(engine, lanes)
    (stack,) = stacks_of(engine)
    epoch = stack.next_epoch()

    def refuse(self: Tensor) -> None:
        raise Waits

    # On the CPU they read the memory, and no operation tells.
    for name in ("tolist", "numpy", "cpu"):
        monkeypatch.setattr(Tensor, name, refuse)
    with Watch():
        for i in range(len(epoch.bounds)):
            epoch.step(i)


def test_the_watch_sees_who_waits() -> None:
    x = torch.arange(4.0)
    for wait in (x.sum().item, lambda: bool(x.sum() > 1), lambda: x[x > 1], x.nonzero):
        with pytest.raises(Waits), Watch():
            wait()
    with pytest.raises(Waits), Watch():
        torch.tensor([1.0, 2.0])


def stacks_of(engine: FusedEngine) -> list[Stack]:
    return [home for home in engine._turns if isinstance(home, Stack)]


def test_without_a_gpu_nobody_loads_it() -> None:
    code = (
        "import sys, torch\n"
        "from hpo.train.fused import fused_engine\n"
        "from hpo.train.fused.admission import admission\n"
        "assert admission.stepper_for(torch.device('cpu'))().clear() is None\n"
        "assert 'hpo.train.fused.stack.cuda_graphs' not in sys.modules\n"
        "admission.stepper_for(torch.device('cuda'))\n"
        "assert 'hpo.train.fused.stack.cuda_graphs' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
