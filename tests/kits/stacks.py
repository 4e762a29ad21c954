"""Both engines side by side, and whether a lane came to the same in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hpo.train.data.loading.loaded_splits import AnySplits
from hpo.train.engine import Engine, EpochReport, Lane
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.loop.checkpoint import Checkpoint
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from tests.kits.toy import blobs

# Kernels add in another order for another number of lanes: some 1e-7 a step, which some dozens of
# steps may make a hundred times as much. What a wrong formula does is a thousandth at least.
RELATIVE, ABSOLUTE = 1e-4, 2e-5


def fused(
    task: Task,
    splits: AnySplits | Sequence[AnySplits] | None = None,
    metric: str = "val_loss",
    direction: str = "minimize",
    sizes: StackSizes | None = None,
) -> FusedEngine:
    """The fused engine, with stacks of any number of lanes whatever is faster here."""
    cpu = torch.device("cpu")
    sizes = sizes or StackSizes(cpu, fixed=64)
    return FusedEngine(task, splits or blobs(), metric, direction, sizes=sizes)


def solo(
    task: Task,
    splits: AnySplits | Sequence[AnySplits] | None = None,
    metric: str = "val_loss",
    direction: str = "minimize",
) -> SoloEngine:
    return SoloEngine(task, splits or blobs(), metric, direction)


def sizes_of(engine: FusedEngine) -> list[int]:
    """How many lanes train in each stack, in the order of their turns; alone it is one."""
    return [getattr(home, "n_training", 1) for home in engine._turns]


def add(engine: Engine, lanes: Iterable[Lane]) -> None:
    for lane in lanes:
        assert engine.add(lane) is None, getattr(engine, "alone", "")


def advance(engine: Engine, n_epochs: int = 1) -> dict[int, list[EpochReport]]:
    """Trains every lane for some epochs, in whatever stacks they are; returns reports by key."""
    found: dict[int, list[EpochReport]] = {}
    for _ in range(n_epochs):
        turns = sizes_of(engine) if isinstance(engine, FusedEngine) else [1]
        for report in [report for _ in turns for report in engine.advance()]:
            found.setdefault(report.key, []).append(report)
    return found


def saved(engine: Engine, key: int, folder: Path) -> Checkpoint:
    path = folder / "saved.pt"
    engine.save(key, path)
    return Checkpoint.load(path)


def assert_same_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(
            found[name], tensor, rtol=RELATIVE, atol=ABSOLUTE, msg=partial(_named, name)
        )


def _named(name: str, message: str) -> str:
    return f"{name}: {message}"


def assert_same_metrics(found: Mapping[str, float], expected: Mapping[str, float]) -> None:
    assert list(found) == list(expected)
    assert dict(found) == pytest.approx(dict(expected), rel=RELATIVE, abs=ABSOLUTE)


def assert_same_reports(found: list[EpochReport], expected: list[EpochReport]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.epoch, one.learning_rate, one.failure) == (
            other.epoch,
            other.learning_rate,
            other.failure,
        )
        assert_same_metrics(one.metrics, other.metrics)


def assert_same_state(found: Checkpoint, expected: Checkpoint) -> None:
    """Compares all that a lane consists of: weights, statistics, optimizer, best epoch."""
    for name in ("seed", "params", "epoch", "horizon"):
        assert getattr(found, name) == getattr(expected, name)
    assert_same_tensors(found.model, expected.model)
    assert found.best.epoch == expected.best.epoch
    assert_same_metrics(found.best.metrics, expected.best.metrics)
    assert_same_tensors(found.best.weights, expected.best.weights)
    # The other settings are the trial's params: an optimizer that loads this has them already.
    (group,), (other,) = found.optimizer["param_groups"], expected.optimizer["param_groups"]
    assert (group["lr"], group["params"]) == (other["lr"], other["params"])
    assert group.items() <= other.items()
    states, others = found.optimizer["state"], expected.optimizer["state"]
    assert list(states) == list(others)
    for i, state in others.items():
        kept = {name: value for name, value in state.items() if value is not None}
        assert_same_tensors(dict(sorted(states[i].items())), dict(sorted(kept.items())))


def assert_as_alone(
    engine: FusedEngine,
    lanes: Iterable[Lane],
    reports: Mapping[int, list[EpochReport]],
    reference: Any,
    folder: Path,
) -> None:
    """Compares every lane with one that trains alone.

    Args:
        engine: Where the lanes are after some epochs.
        lanes: As they were added.
        reports: What their epochs came to.
        reference: Makes solo engines.
        folder: For checkpoints.
    """
    for lane in lanes:
        alone = reference()
        add(alone, [lane])
        expected = advance(alone, len(reports[lane.key]))[lane.key]
        assert_same_reports(reports[lane.key], expected)
        assert_same_state(saved(engine, lane.key, folder), saved(alone, lane.key, folder))
        assert_same_metrics(engine.test(lane.key), alone.test(lane.key))
