"""Lanes of several batch sizes in one stack, against the same trials alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Categorical, Int, SearchSpace
from hpo.train.data.dataset import Splits
from hpo.train.engine import EpochReport, Lane
from hpo.train.fused.admission.autotune import StackSize, StackSizes
from hpo.train.fused.admission.batch_sharing import (
    BatchSharing,
    batch_sharing_for,
    batch_sharing_of,
)
from hpo.train.fused.admission.step_timing import StepClock, Timing
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.recipe.optimizers import OPTIMIZERS
from hpo.train.task import Task
from tests.contracts.train.fused.test_fused_tasks import Built, Net
from tests.kits.stacks import (
    add,
    advance,
    assert_as_alone,
    fused,
    sizes_of,
    solo,
)
from tests.kits.toy import Blobs, blobs, cut, lane, slopes

CPU = torch.device("cpu")
# Of 90 samples: 8 divides 16 and 32, and leaves 2; "full" ends with the epoch.
BATCHES: list[int | str] = [8, 16, 32, "full", 8, 16]


class Plain(Task):
    """Layers that look at one sample at a time, by stacked layers."""

    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(
            nn.Linear(2, 7),
            nn.LayerNorm(7),
            nn.GELU(),
            nn.Dropout(params.dropout),
            nn.Linear(7, 5),
            nn.Tanh(),
            nn.Dropout(params.dropout / 2),
            nn.Linear(5, 3),
        )


class ByVmap(Plain):
    """The same through ``vmap``."""

    def model(self, params: Params) -> nn.Module:
        return Net(lambda self, x: self.inner(x), inner=super().model(params))


def shared(
    task: Task, splits: Splits | None = None, batches: list[int | str] | None = None
) -> FusedEngine:
    data = splits or blobs()
    batch_sharing = batch_sharing_of(batches or BATCHES, len(data.train))
    return fused(task, data, sizes=StackSizes(CPU, fixed=64, batch_sharing=batch_sharing))


def lanes_of(
    optimizer: str = "adamw",
    batches: list[int | str] | None = None,
    rate: float = 0.004,
    **values: Any,
) -> list[Lane]:
    return [
        lane(
            seed=70 + i,
            epoch_stop=9,
            key=i,
            **{
                "optimizer": optimizer,
                "batch_size": size,
                "learning_rate": rate * (i + 1),
                "dropout": i % 3 * 0.25,
                "grad_clip": i % 2 * 0.3,
                "l1": i % 3 * 0.001,
                "weight_decay": 0.01 * i,
                "label_smoothing": i % 2 * 0.1,
                "schedule": ("constant", "cosine", "step", "exponential")[i % 4],
                "step_size": 2,
                **values,
            },
        )
        for i, size in enumerate(batches or BATCHES)
    ]


@pytest.mark.parametrize("task", [Plain(), ByVmap()], ids=["layers", "vmap"])
@pytest.mark.parametrize(
    "optimizer", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"]
)
def test_each_lane_is_its_trial_alone(optimizer: str, task: Task, tmp_path: Path) -> None:
    values: dict[str, Any] = {"momentum": 0.8} if "beta1" not in OPTIMIZERS[optimizer].reads else {}
    # RMSprop's first steps are gradients divided by their size: larger ones magnify rounding, in
    # stacks of one batch size as well.
    rate = 0.001 if optimizer == "rmsprop" else 0.004
    lanes, engine = lanes_of(optimizer, rate=rate, **values), shared(task)
    add(engine, lanes)
    reports = advance(engine, 3)
    assert (sizes_of(engine), engine.alone) == ([len(BATCHES)], {})
    assert_as_alone(engine, lanes, reports, lambda: solo(task), tmp_path)


@pytest.mark.parametrize("n_train", [81, 88, 89, 90])
def test_a_last_batch_that_is_smaller_or_takes_one_sample_more(
    n_train: int, tmp_path: Path
) -> None:
    data = blobs()
    splits = Splits(
        *cut(data.train.x[:n_train], data.train.y[:n_train], n_train, 0)[:1],
        data.val,
        data.test,
        data.kind,
        data.classes,
    )
    lanes, engine = lanes_of("sgd", momentum=0.9), shared(Plain(), splits)
    add(engine, lanes)
    reports = advance(engine, 2)
    assert sizes_of(engine) == [len(BATCHES)]
    assert_as_alone(engine, lanes, reports, lambda: solo(Plain(), splits), tmp_path)


def test_lanes_join_and_leave_half_way(tmp_path: Path) -> None:
    lanes, engine = lanes_of(), shared(Plain())
    reports: dict[int, list[EpochReport]] = {}
    # In the end all that are left have the smallest batches, and need not add up any more.
    for leaving, joining in (([], [0, 1, 2]), ([1], [3, 4]), ([0], [5]), ([2, 3, 5], [])):
        for key in leaving:
            engine.remove(key)
        add(engine, [lanes[key] for key in joining])
        for key, found in advance(engine, 2).items():
            reports[key] = reports.get(key, []) + found
        stayed = [lanes[key] for key in engine._trainers]
        assert sizes_of(engine) == [len(stayed)]
        assert_as_alone(engine, stayed, reports, lambda: solo(Plain()), tmp_path)
    assert [one.params["batch_size"] for one in stayed] == [8]


def test_a_diverging_lane_touches_no_other(tmp_path: Path) -> None:
    lanes, engine = lanes_of("sgd"), shared(Plain())
    bad = lane(9, 9, 50, optimizer="sgd", batch_size=16, learning_rate=1e30)
    add(engine, [lanes[0], bad, *lanes[1:3]])
    reports = advance(engine, 3)
    assert [report.failure is not None for report in reports.pop(50)] == [True]
    assert_as_alone(engine, lanes[:3], reports, lambda: solo(Plain()), tmp_path)


def test_checkpoints_go_on_in_a_stack_of_other_batch_sizes(tmp_path: Path) -> None:
    lanes, first, second = lanes_of(), shared(Plain()), shared(Plain())
    add(first, lanes[1:2])
    reports = advance(first, 2)
    first.save(1, tmp_path / "one.pt")
    add(second, [lanes[0], replace(lanes[1], checkpoint=tmp_path / "one.pt"), lanes[2]])
    reports[1] += advance(second, 2)[1]
    assert_as_alone(second, [lanes[1]], reports, lambda: solo(Plain()), tmp_path)


def test_regression_by_the_mean_squared_error(tmp_path: Path) -> None:
    class Line(Task):
        def model(self, params: Params) -> nn.Module:
            return nn.Linear(1, 1)

    batches: list[int | str] = [1, 4, 10, "full"]
    lanes, engine = lanes_of("adam", batches), shared(Line(), slopes(), batches)
    lanes = [replace(one, params=Params({**one.params.asdict(), "schedule": "constant"}))
             for one in lanes]  # fmt: skip
    add(engine, lanes)
    reports = advance(engine, 2)
    assert sizes_of(engine) == [4]
    assert_as_alone(engine, lanes, reports, lambda: solo(Line(), slopes()), tmp_path)


def in_time_first_order(params: Params) -> nn.Module:
    """Dropout on [T, B, F]: samples are not the first dimension."""

    def forward(self: Any, x: Tensor) -> Tensor:
        both = torch.stack([self.first(x), self.second(x)])
        out: Tensor = self.head(self.drop(both).mean(0))
        return out

    parts = {"first": nn.Linear(2, 4), "second": nn.Linear(2, 4), "head": nn.Linear(4, 3)}
    return Net(forward, drop=nn.Dropout(params.dropout), **parts)


class Summed(Plain):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="sum")


class Weighted(Plain):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weight = torch.tensor([1.0, 5.0, 0.1])
        return nn.functional.cross_entropy(outputs, targets, weight)


def centred(self: Any, x: Tensor) -> Tensor:
    out: Tensor = self.head(x)
    return out - 0.1 * out.mean(0)


NOT_ADDING_UP: dict[str, Callable[[], Task]] = {
    "batch normalization": Blobs,
    "sum": Summed,
    "weighted mean": Weighted,
    "looks at the batch": lambda: Built(lambda params: Net(centred, head=nn.Linear(2, 3))),
    "time first": lambda: Built(in_time_first_order),
}


@pytest.mark.parametrize("case", NOT_ADDING_UP)
def test_what_does_not_add_up_keeps_stacks_of_one_batch_size(case: str, tmp_path: Path) -> None:
    task = NOT_ADDING_UP[case]()
    # Without dropout at first, so that its places have to be looked at all the same.
    lanes = lanes_of("sgd", [8, 16, 8, 16], dropout=0.0, grad_clip=0.0, label_smoothing=0.0)
    lanes[3] = replace(lanes[3], params=Params({**lanes[3].params.asdict(), "dropout": 0.5}))
    engine = shared(task)
    add(engine, lanes)
    reports = advance(engine, 2)
    assert (sizes_of(engine), engine.alone) == ([2, 2], {})
    assert_as_alone(engine, lanes, reports, lambda: solo(task), tmp_path)


def test_batch_sizes_that_are_no_multiples_have_stacks_of_their_own(tmp_path: Path) -> None:
    batches: list[int | str] = [8, 12, 16, 12]
    lanes, engine = lanes_of("sgd", batches), shared(Plain(), batches=batches)
    add(engine, lanes)
    reports = advance(engine, 2)
    assert sizes_of(engine) == [2, 2]
    assert_as_alone(engine, lanes, reports, lambda: solo(Plain()), tmp_path)


@pytest.mark.parametrize(
    ("mixed_s", "is_shared"), [(0.5, True), (0.99, False), (2.0, False)], ids=str
)
def test_a_measurement_decides_and_is_remembered(
    mixed_s: float, is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An epoch of 90 samples: 12 steps of 8 and 6 of 16 (seconds as below) against 12 micro-steps.
    def timed(self: StepClock, template: Any, lane_states: Any, *told: Any) -> Timing:
        sizes = {lane_state.params["batch_size"] for lane_state in lane_states}
        step_s = mixed_s * 18 / 12 if len(sizes) > 1 else 1.0
        return Timing(lambda: lambda: torch.zeros(()), costs=[step_s])

    monkeypatch.setattr(StepClock, "time", timed)
    monkeypatch.setattr(StackSizes, "_measure", lambda *told: StackSize(4, slowdown=1.0))
    known: dict[str, StackSize] = {}
    batch_sharing, lanes = BatchSharing((8, 16)), lanes_of("sgd", [8, 16, 8, 16])
    for measured in (1, 0):
        before = dict(known)
        sizes = StackSizes(CPU, known, known.__setitem__, batch_sharing=batch_sharing)
        engine = fused(Plain(), sizes=sizes)
        assert engine.shares_batch_sizes(lanes[0].params) is (is_shared and not measured)
        for one in lanes:
            assert engine.add(one) is None
        assert engine.shares_batch_sizes(lanes[1].params) is is_shared
        assert sizes_of(engine) == ([4] if is_shared else [2, 2])
        assert (known != before) is bool(measured)


def test_only_choices_on_a_gpu_are_candidates() -> None:
    space = SearchSpace({"batch_size": Categorical([128, "full", 32, 48])})
    assert batch_sharing_for(space, 1000, "cuda:0") == BatchSharing((32, 128, 1000))
    assert batch_sharing_for(space, 1000, "cpu") == BatchSharing()
    assert (
        batch_sharing_for(SearchSpace({"batch_size": Int(1, 64)}), 1000, "cuda") == BatchSharing()
    )
    assert batch_sharing_for(SearchSpace({"depth": Int(1, 4)}), 1000, "cuda") == BatchSharing()
    one = batch_sharing_for(SearchSpace({"batch_size": Categorical([2000, 1000])}), 900, "cuda")
    assert not one.takes(900)
