"""Lanes that differ in every hyperparameter, against the same trials alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.spec.space.params import Params
from hpo.train.engine import Lane
from hpo.train.recipe.optimizers import OPTIMIZERS
from hpo.train.recipe.random_streams import derive
from hpo.train.recipe.schedules import SCHEDULES
from hpo.train.task import Task
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
from tests.kits.toy import blobs, lane


class Rich(Task):
    """Has all that remembers, and sizes that leave gaps between parameters.

    There is no bias before the batch normalization: its gradient would be rounding alone, which
    adaptive optimizers make as large as any other.
    """

    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(
            nn.Linear(2, 7, bias=False),
            nn.BatchNorm1d(7),
            nn.ReLU(),
            nn.Dropout(params.dropout),
            nn.Linear(7, 5),
            nn.Tanh(),
            nn.Dropout(params.dropout / 2),
            nn.Linear(5, 3),
        )


# Of five lanes each, all with values of their own.
REGULARISERS: list[dict[str, Any]] = [
    {"dropout": 0.0, "weight_decay": 0.0, "grad_clip": 0.0},
    {"dropout": 0.5, "weight_decay": 1e-2, "grad_clip": 0.05, "label_smoothing": 0.2},
    {"dropout": 0.1, "l1": 1e-3, "grad_clip": 1.0, "schedule": "cosine", "warmup_epochs": 2},
    {"dropout": 0.9, "weight_decay": 0.1, "schedule": "step", "step_size": 2, "gamma": 0.3},
    {"label_smoothing": 0.5, "l1": 1e-2, "grad_clip": 0.1, "schedule": "exponential", "gamma": 0.8},
]
STACKS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {"learning_rate": 0.1},
        {"learning_rate": 0.03, "momentum": 0.9, "nesterov": True},
        {"learning_rate": 0.05, "momentum": 0.9, "nesterov": False},
        {"learning_rate": 0.2, "nesterov": True},
        {"learning_rate": 0.01, "momentum": 0.5, "nesterov": True},
    ],
    "momentum": [{"learning_rate": 0.02 * i, "momentum": 0.2 * (i - 1)} for i in range(1, 6)],
    "nesterov": [{"learning_rate": 0.02 * i, "momentum": 0.2 * (i - 1)} for i in range(1, 6)],
    "adagrad": [{"learning_rate": 0.02 * i, "eps": 10.0**-i} for i in range(1, 6)],
    "rmsprop": [
        {"learning_rate": 0.002 * i, "alpha": 1 - 0.5**i, "momentum": m, "eps": 10.0 ** (-2 - i)}
        for i, m in zip(range(1, 6), (0.0, 0.9, 0.5, 0.0, 0.1), strict=True)
    ],
    "adam": [
        {"learning_rate": 0.004 * i, "beta1": 0.2 * i - 0.1, "beta2": 1 - 0.1**i, "eps": 10.0**-i}
        for i in range(1, 6)
    ],
    "adamw": [
        {"learning_rate": 0.004 * i, "beta1": 1 - 0.2 * i, "beta2": 1 - 0.5**i} for i in range(1, 6)
    ],
}


def lanes_of(optimizer: str, n_epochs: int = 5) -> list[Lane]:
    values = zip(STACKS[optimizer], REGULARISERS, strict=True)
    return [
        lane(seed=20 + i, epoch_stop=n_epochs, key=i, optimizer=optimizer, batch_size=16, **a, **b)
        for i, (a, b) in enumerate(values)
    ]


def test_the_tables_leave_nothing_out() -> None:
    assert STACKS.keys() == OPTIMIZERS.keys()
    schedules = {row.get("schedule", "constant") for row in REGULARISERS}
    assert schedules == SCHEDULES.keys()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_lane_is_its_trial_alone(optimizer: str, tmp_path: Path) -> None:
    engine, lanes = fused(Rich()), lanes_of(optimizer)
    add(engine, lanes)
    reports = advance(engine, 4)
    assert (sizes_of(engine), engine.alone) == ([5], {})
    assert_as_alone(engine, lanes, reports, lambda: solo(Rich()), tmp_path)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_neighbours_without_a_regulariser_do_without_it(smoothing: float, tmp_path: Path) -> None:
    # One lane after the other has it: what a stack computes for all changes with its lanes.
    engine = fused(Rich())
    strong = {"dropout": 0.5, "l1": 0.01, "weight_decay": 0.1, "grad_clip": 0.1, "momentum": 0.9}
    lanes = [
        lane(1, 6, 0, learning_rate=0.1),
        lane(2, 2, 1, learning_rate=0.05, label_smoothing=smoothing, **strong),
        lane(3, 6, 2, learning_rate=0.2),
    ]
    add(engine, lanes)
    reports = advance(engine, 2)
    engine.remove(1)
    for key, later in advance(engine, 2).items():
        reports[key] += later
    assert_as_alone(engine, [lanes[0], lanes[2]], reports, lambda: solo(Rich()), tmp_path)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_of_the_whole_trial(schedule: str) -> None:
    engine = fused(Rich())
    lanes = [
        replace(
            lane(key=i, schedule=schedule, warmup_epochs=i, gamma=0.5, step_size=i + 1), horizon=9
        )
        for i in range(3)
    ]
    add(engine, lanes)
    reports = advance(engine, 6)
    for one in lanes:
        alone = solo(Rich())
        add(alone, [one])
        rates = [report.learning_rate for report in advance(alone, 6)[one.key]]
        assert [report.learning_rate for report in reports[one.key]] == rates


PLAIN: dict[str, tuple[dict[str, Any], Callable[[Any], torch.optim.Optimizer]]] = {
    "sgd": (
        {"momentum": 0.8, "nesterov": True, "learning_rate": 0.05, "weight_decay": 1e-3},
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True, weight_decay=1e-3),
    ),
    "rmsprop": (
        {"learning_rate": 0.01, "momentum": 0.5, "alpha": 0.9},
        lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.9, momentum=0.5),
    ),
    "adagrad": ({"learning_rate": 0.1}, lambda p: torch.optim.Adagrad(p, 0.1)),
    "adam": (
        {"learning_rate": 0.01, "beta1": 0.8, "weight_decay": 0.01},
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.999), weight_decay=0.01),
    ),
    "adamw": (
        {"learning_rate": 0.01, "weight_decay": 0.1},
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("optimizer", PLAIN)
def test_as_a_loop_that_anybody_would_write(optimizer: str, tmp_path: Path) -> None:
    values, make = PLAIN[optimizer]
    with torch.random.fork_rng(devices=[]):
        expected = plain_loop(make, seed=5, n_epochs=3)
    engine = fused(Rich())
    others = [one for one in lanes_of(optimizer) if one.key in (0, 4)]
    mine = lane(seed=5, key=9, optimizer=optimizer, batch_size=16, dropout=0.0, **values)
    add(engine, [others[0], mine, others[1]])
    advance(engine, 3)
    found = saved(engine, 9, tmp_path).model
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=RELATIVE, atol=ABSOLUTE)


def plain_loop(
    make: Callable[[Any], torch.optim.Optimizer], seed: int, n_epochs: int
) -> dict[str, Tensor]:
    part = blobs().train
    torch.manual_seed(derive(seed, "weights"))
    model = Rich().model(Params({"dropout": 0.0}))
    optimizer = make(model.parameters())
    for epoch in range(n_epochs):
        generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
        for batch in torch.randperm(len(part), generator=generator).split(16):
            optimizer.zero_grad()
            functional.cross_entropy(model(part.x[batch]), part.y[batch]).backward()
            optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_checkpoints_go_from_engine_to_engine(optimizer: str, tmp_path: Path) -> None:
    lanes = lanes_of(optimizer, 6)
    through = {}
    for one in lanes:
        through[one.key] = solo(Rich())
        add(through[one.key], [one])
    expected = {key: advance(engine, 6)[key] for key, engine in through.items()}

    stands, done = list(lanes), 0
    # Alone, then stacked, then alone again; and each lane begins and ends within the same epochs.
    for make, n_epochs in ((solo, 1), (fused, 3), (solo, 2)):
        engines = [make(Rich())] * len(lanes) if make is fused else [make(Rich()) for _ in lanes]
        for engine, stand in zip(engines, stands, strict=True):
            add(engine, [stand])
        found = [advance(engine, n_epochs) for engine in dict.fromkeys(engines)]
        done += n_epochs
        for i, engine in enumerate(engines):
            (reports,) = [each[i] for each in found if i in each]
            assert_same_reports(reports, expected[i][done - n_epochs : done])
            path = tmp_path / f"{i}.pt"
            engine.save(i, path)
            stands[i] = replace(lanes[i], epoch=done, checkpoint=path)
    for i, engine in enumerate(engines):
        assert_same_state(saved(engine, i, tmp_path), saved(through[i], i, tmp_path))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_checkpoints_are_alike_before_the_first_step(optimizer: str, tmp_path: Path) -> None:
    one = lane(optimizer=optimizer, learning_rate=0.5, warmup_epochs=3)
    engines = [fused(Rich()), solo(Rich())]
    for engine in engines:
        add(engine, [one])
    assert_same_state(*(saved(engine, 1, tmp_path) for engine in engines))
