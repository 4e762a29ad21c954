"""Losses as hyperparameters: PyTorch's own in both engines, lanes as their trials alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, r2_score, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Categorical, Fixed, SearchSpace
from hpo.train.checks.task_preview import metric_names, read_parameters
from hpo.train.data.dataset import Part, Splits
from hpo.train.engine import Engine, Failure
from hpo.train.objective.losses import LOSSES
from hpo.train.recipe.random_streams import derive
from hpo.train.task import Task
from tests.kits.stacks import (
    ABSOLUTE,
    RELATIVE,
    add,
    advance,
    assert_as_alone,
    fused,
    saved,
    sizes_of,
    solo,
)
from tests.kits.toy import blobs, lane, slopes

ENGINES: dict[str, Callable[..., Engine]] = {"solo": solo, "fused": fused}


class Net(Task):
    """A small network with as many outputs as told; without dropout."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.sizes = (n_in, n_out)

    def model(self, params: Params) -> nn.Module:
        n_in, n_out = self.sizes
        return nn.Sequential(nn.Linear(n_in, 6), nn.Tanh(), nn.Linear(6, n_out))


@cache
def rare() -> Splits:
    """Two classes, of which the second is rare."""
    splits = blobs(240, 2)

    def thinned(part: Part) -> Part:
        kept = (part.y == 0) | (torch.arange(len(part)) % 5 == 1)
        return Part(part.x[kept], part.y[kept])

    assert splits.test is not None
    return dataclasses.replace(
        splits, train=thinned(splits.train), val=thinned(splits.val), test=thinned(splits.test)
    )


@cache
def shares() -> Splits:
    """Targets from 0 to 1."""
    splits = slopes()

    def squashed(part: Part) -> Part:
        return Part(part.x, part.y.sigmoid())

    assert splits.test is not None
    return dataclasses.replace(
        splits, train=squashed(splits.train), val=squashed(splits.val), test=squashed(splits.test)
    )


def weights_of(y: Tensor) -> Tensor:
    return len(y) / (2 * y.bincount().float())


def signed_hinge(outputs: Tensor, y: Tensor) -> Tensor:
    margin = (outputs[:, 1] - outputs[:, 0]) * (2 * y - 1)
    return (1 - margin).clamp(min=0).mean()


def plain_focal(outputs: Tensor, y: Tensor) -> Tensor:
    p = outputs.softmax(1)[torch.arange(len(y)), y]
    return (-((1 - p) ** 1.5) * p.log()).mean()


# Data, outputs, params, and what PyTorch calls the loss.
Case = tuple[Callable[[], Splits], int, dict[str, Any], Callable[[Tensor, Tensor], Tensor]]
CASES: dict[str, Case] = {
    "cross_entropy": (blobs, 3, {}, nn.CrossEntropyLoss()),
    "weighted": (
        rare,
        2,
        {"loss": "cross_entropy", "class_weights": "balanced", "label_smoothing": 0.1},
        nn.CrossEntropyLoss(weights_of(rare().train.y), label_smoothing=0.1),
    ),
    "bce": (
        rare,
        1,
        {"loss": "bce"},
        lambda o, y: functional.binary_cross_entropy_with_logits(o[:, 0], y.float()),
    ),
    "bce of numbers": (
        shares,
        1,
        {"loss": "bce"},
        lambda o, y: functional.binary_cross_entropy_with_logits(o[:, 0], y),
    ),
    "weighted bce": (
        rare,
        1,
        {"loss": "bce", "class_weights": "balanced"},
        lambda o, y: (
            functional.binary_cross_entropy_with_logits(
                o[:, 0], y.float(), weights_of(rare().train.y)[y], reduction="sum"
            )
            / weights_of(rare().train.y)[y].sum()
        ),
    ),
    "hinge": (rare, 2, {"loss": "hinge"}, signed_hinge),
    "multi-margin": (
        blobs,
        3,
        {"loss": "hinge"},
        # PyTorch's sums over all classes, so that of two it is half of ours.
        lambda o, y: (
            (
                (1 + o.masked_fill(functional.one_hot(y, 3).bool(), -torch.inf).amax(1))
                - o.gather(1, y[:, None])[:, 0]
            )
            .clamp(min=0)
            .mean()
        ),
    ),
    "focal": (blobs, 3, {"loss": "focal", "focal_gamma": 1.5}, plain_focal),
    "mse": (slopes, 1, {"loss": "mse"}, lambda o, y: functional.mse_loss(o[:, 0], y)),
    "mae": (slopes, 1, {"loss": "mae"}, lambda o, y: functional.l1_loss(o[:, 0], y)),
    "huber": (
        slopes,
        1,
        {"loss": "huber", "huber_delta": 0.3},
        lambda o, y: functional.huber_loss(o[:, 0], y, delta=0.3),
    ),
}


def test_the_cases_leave_nothing_out() -> None:
    named = {values.get("loss", "cross_entropy") for _, _, values, _ in CASES.values()}
    assert named == set(LOSSES)


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_trained_as_by_pytorch(case: Case, make: Callable[..., Any], tmp_path: Path) -> None:
    splits, n_out, values, theirs = case[0](), *case[1:]
    task = Net(splits.train.x.shape[1], n_out)
    engine = make(task, splits)
    mine = lane(seed=5, key=9, learning_rate=0.1, batch_size=16, **values)
    others = [lane(seed=k, key=k, learning_rate=0.05, batch_size=16, **values) for k in (1, 2)]
    add(engine, [mine] if make is solo else [others[0], mine, others[1]])
    (*_, report) = advance(engine, 3)[9]
    if make is fused:
        assert (sizes_of(engine), engine.alone) == ([3], {})

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(5, "weights"))
        model = task.model(Params())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(3):
        generator = torch.Generator().manual_seed(derive(5, "order", epoch))
        for batch in torch.randperm(len(splits.train), generator=generator).split(16):
            optimizer.zero_grad()
            theirs(model(splits.train.x[batch]), splits.train.y[batch]).backward()
            optimizer.step()
    found = saved(engine, 9, tmp_path).model
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=RELATIVE, atol=ABSOLUTE)
    if not {"class_weights", "label_smoothing"} & values.keys():
        with torch.no_grad():
            expected = theirs(model(splits.val.x), splits.val.y)
        assert report.metrics["val_loss"] == pytest.approx(float(expected), rel=1e-4)


LANES: dict[str, tuple[Callable[[], Splits], int, list[dict[str, Any]]]] = {
    "cross_entropy": (
        rare,
        2,
        [
            {"label_smoothing": 0.1 * i, "class_weights": w}
            for i, w in enumerate(["none", "balanced", "none"])
        ],
    ),
    "bce": (rare, 1, [{"class_weights": w} for w in ("balanced", "none", "balanced")]),
    "hinge": (rare, 1, [{"class_weights": w} for w in ("none", "none", "balanced")]),
    "focal": (
        rare,
        1,
        [
            {"focal_gamma": float(i), "class_weights": w}
            for i, w in enumerate(["none", "balanced", "none"])
        ],
    ),
    "mse": (slopes, 1, [{}, {}]),
    "mae": (slopes, 1, [{}, {}]),
    "huber": (slopes, 1, [{"huber_delta": 0.1 * i} for i in range(1, 4)]),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lane_is_its_trial_alone(loss: str, tmp_path: Path) -> None:
    make_splits, n_out, values = LANES[loss]
    splits = make_splits()
    task = Net(splits.train.x.shape[1], n_out)
    engine = fused(task, splits)
    lanes = [
        lane(seed=i, key=i, loss=loss, learning_rate=0.05 * (i + 1), batch_size=16, **own)
        for i, own in enumerate(values)
    ]
    add(engine, lanes)
    reports = advance(engine, 3)
    assert (sizes_of(engine), engine.alone) == ([len(lanes)], {})
    assert_as_alone(engine, lanes, reports, lambda: solo(task, splits), tmp_path)


def test_lanes_of_other_losses_are_other_stacks() -> None:
    engine = fused(Net(2, 2), rare())
    add(engine, [lane(key=i, loss=name) for i, name in enumerate(["bce", "hinge", "bce"])])
    advance(engine)
    assert sizes_of(engine) == [2, 1]


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_any_metric_may_be_the_objective(make: Callable[..., Any]) -> None:
    """Also one that the task does not name, and of a model with a single output."""
    wanted = ("val_balanced_accuracy", "val_f1", "val_auroc")
    engine = make(Net(2, 1), rare(), wanted, "maximize")
    add(engine, [lane(key=i, loss="bce", learning_rate=0.5) for i in (1, 2)[: 1 + (make is fused)]])
    (report,) = advance(engine)[1]
    assert set(report.metrics) >= {"val_accuracy", *wanted}
    scores, y = outputs_of(engine, 1, rare()), rare().val.y
    predicted = scores > 0
    assert [report.metrics[name] for name in wanted] == pytest.approx(
        [
            balanced_accuracy_score(y, predicted),
            f1_score(y, predicted, average="macro"),
            roc_auc_score(y, scores),
        ],
        abs=1e-6,
    )
    numbers = make(Net(1, 1), slopes(), "val_rmse", "minimize")
    add(numbers, [lane(key=1)])
    metrics = advance(numbers)[1][0].metrics
    assert metrics["val_rmse"] == pytest.approx(metrics["val_mse"] ** 0.5, rel=1e-5)
    expected = r2_score(slopes().val.y, outputs_of(numbers, 1, slopes()))
    assert metrics["val_r2"] == pytest.approx(expected, abs=1e-4)


def outputs_of(engine: Engine, key: int, splits: Splits) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        state = saved(engine, key, Path(folder)).model
    model = Net(splits.train.x.shape[1], 1).model(Params())
    model.load_state_dict(state)
    with torch.no_grad():
        return model(splits.val.x)[:, 0].numpy()


def test_what_does_not_go_together_is_said() -> None:
    def failure(task: Task, splits: Splits, **values: Any) -> str:
        found = [make(task, splits).add(lane(**values)) for make in ENGINES.values()]
        assert all(isinstance(one, Failure) for one in found)
        messages = {one.message.strip().rpartition("\n")[2] for one in found if one}
        (message,) = messages
        return message

    assert "bce, mse, mae, huber for a regression; found 'hinge'" in failure(
        Net(1, 1), slopes(), loss="hinge"
    )
    assert "bce needs targets from 0 to 1; found" in failure(Net(1, 1), slopes(), loss="bce")
    assert "class_weights must be none, balanced" in failure(Net(2, 2), rare(), class_weights=2)


@pytest.mark.parametrize(
    ("splits", "space", "message"),
    [
        (slopes, {"loss": Fixed("bce")}, "bce needs targets from 0 to 1"),
        (slopes, {"class_weights": Fixed("balanced")}, "read by the losses of classes"),
        (rare, {"focal_gamma": Fixed(1.0)}, 'no effect here; it is read by loss = "focal"'),
        (
            rare,
            {"loss": Fixed("hinge"), "label_smoothing": Fixed(0.1)},
            'no effect here; it is read by loss = "cross_entropy"',
        ),
        (rare, {"loss": Categorical(["bce", "mse"])}, "for a classification; found 'mse'"),
    ],
)
def test_a_space_is_told_before_any_trial(
    splits: Callable[[], Splits], space: dict[str, Any], message: str
) -> None:
    data = splits()
    report = read_parameters(Net(data.train.x.shape[1], 2), SearchSpace(space), data)
    (problem,) = report.problems
    assert message in problem.message


def test_a_single_output_is_for_losses_of_two_classes() -> None:
    for loss in ("bce", "hinge", "focal"):
        assert "val_accuracy" in metric_names(Net(2, 1), rare(), Params({"loss": loss}))
    with pytest.raises(TaskError, match="returns 1 output a sample, and the data has 2") as caught:
        metric_names(Net(2, 1), rare())
    assert "bce, hinge or focal" in str(caught.value.hint)
    with pytest.raises(TaskError, match="returns 1 output a sample, and the data has 3"):
        metric_names(Net(2, 1), blobs(), Params({"loss": "bce"}))
