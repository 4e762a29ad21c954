"""Precision as a hyperparameter, in both engines; TF32 needs an NVIDIA GPU and is float32 here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.train.data.dataset import Splits
from hpo.train.engine import Lane
from hpo.train.loop.training import begin
from hpo.train.task import Task
from tests.contracts.train.fused.test_fused_batches import Plain, shared
from tests.contracts.train.fused.test_fused_tasks import IMAGES, STEPS, Net
from tests.kits.stacks import add, advance, fused, saved, sizes_of, solo
from tests.kits.toy import Blobs, blobs, lane

CPU = torch.device("cpu")
# bfloat16 has 8 bits: 0.4 % a number.
ROUNDING = 0.03


class Recurrent(Task):
    def model(self, params: Params) -> nn.Module:
        parts = {"gru": nn.GRU(4, 6, batch_first=True), "head": nn.Linear(6, 3)}
        return Net(lambda self, x: self.head(self.gru(x)[0][:, -1]), **parts)


class Convolutional(Task):
    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
        )


TASKS: dict[str, tuple[Task, Splits]] = {
    "layers": (Plain(), blobs()),
    "batch normalization": (Blobs(), blobs()),
    "convolution": (Convolutional(), IMAGES),
    "recurrent": (Recurrent(), STEPS),
}


def lanes_of(precision: str, n: int = 3, **values: Any) -> list[Lane]:
    common = {"precision": precision, "optimizer": "momentum", "batch_size": 16, **values}
    return [lane(40 + i, 9, i, learning_rate=0.01 * (i + 1), **common) for i in range(n)]


@pytest.mark.parametrize("case", TASKS)
def test_bf16_is_close_to_float32_in_both_engines(case: str, tmp_path: Path) -> None:
    task, splits = TASKS[case]
    engine = fused(task, splits)
    add(engine, lanes_of("bf16"))
    reports = advance(engine, 2)
    assert (sizes_of(engine), engine.alone) == ([3], {})
    for one, exact in zip(lanes_of("bf16"), lanes_of("float32"), strict=True):
        alone, reference = solo(task, splits), solo(task, splits)
        add(alone, [one])
        add(reference, [exact])
        by_alone, expected = advance(alone, 2)[one.key], advance(reference, 2)[one.key]
        for found in (reports[one.key], by_alone):
            metrics = [dict(report.metrics) for report in found]
            losses = [m[name] for m in metrics for name in ("train_loss", "val_loss")]
            wanted = [r.metrics[name] for r in expected for name in ("train_loss", "val_loss")]
            assert all(map(math.isfinite, losses))
            assert losses == pytest.approx(wanted, rel=ROUNDING)
            assert losses != pytest.approx(wanted, rel=1e-6)
        for other in (engine, alone):
            state = saved(other, one.key, tmp_path)
            kept = [*state.model.values(), *state.best.weights.values()]
            kept += [t for s in state.optimizer["state"].values() for t in s.values()]
            assert {t.dtype for t in kept if t.is_floating_point()} == {torch.float32}
        assert engine.test(one.key) == pytest.approx(reference.test(one.key), abs=0.1)


def test_the_forward_pass_is_in_bfloat16_and_the_loss_is_not() -> None:
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    class Watched(Task):
        def model(self, params: Params) -> nn.Module:
            head = nn.Linear(2, 3)
            net = Net(lambda self, x: self.look(self.head(x)), head=head)
            net.look = lambda out: seen.append((out.dtype, out.dtype)) or out  # type: ignore[func-returns-value, assignment]
            return net

        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            seen[-1] = (seen[-1][0], outputs.dtype)
            return super().loss(outputs, targets)

    for precision, inside in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        params = Params({"precision": precision})
        training = begin(Watched(), blobs(), params, 0, 1, CPU)
        seen.clear()
        training.step(blobs().train.x[:8], blobs().train.y[:8])
        assert seen == [(inside, torch.float32)]


def test_precisions_have_stacks_of_their_own() -> None:
    engine = fused(Plain())
    add(engine, [lanes_of(p)[i] for i, p in enumerate(("float32", "bf16", "tf32"))])
    assert sizes_of(engine) == [1, 1, 1]


def test_tf32_is_float32_where_there_is_none() -> None:
    found = []
    for precision in ("tf32", "float32"):
        engine = fused(Blobs())
        add(engine, lanes_of(precision))
        found.append([[dict(r.metrics) for r in all_] for all_ in advance(engine, 2).values()])
    assert found[0] == found[1]


def test_bf16_with_several_batch_sizes_in_one_stack() -> None:
    lanes = [
        lane(40 + i, 9, i, learning_rate=0.01, precision="bf16", batch_size=(8, 16, "full")[i])
        for i in range(3)
    ]
    engine = shared(Plain())
    add(engine, lanes)
    reports = advance(engine, 2)
    assert sizes_of(engine) == [3]
    for one in lanes:
        alone = solo(Plain())
        add(alone, [one])
        expected = [r.metrics["train_loss"] for r in advance(alone, 2)[one.key]]
        found = [r.metrics["train_loss"] for r in reports[one.key]]
        assert found == pytest.approx(expected, rel=ROUNDING)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(TaskError, match="precision must be float32, tf32, bf16, fp16; found 'fp8'"):
        begin(Plain(), blobs(), Params({"precision": "fp8"}), 0, 1, CPU)
