"""Fine-tuning: given weights and frozen layers train in stacks as they do alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.task import Task
from tests.kits.item_sets import item_sets, loaded, pixels, three_classes
from tests.kits.stacks import (
    add,
    advance,
    assert_as_alone,
    assert_same_reports,
    fused,
    saved,
    sizes_of,
    solo,
)
from tests.kits.toy import Blobs, lane


def body() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.4), nn.Flatten()
    )


def given_weights() -> dict[str, Any]:
    """Weights that were trained elsewhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return body().state_dict()


class FineTuning(Task):
    """A body of given weights, of which ``frozen`` says what is trained, and a new head."""

    def __init__(self, frozen: str) -> None:
        self.frozen = frozen
        self.weights = given_weights()

    def model(self, params: Params) -> nn.Module:
        found = body()
        found.load_state_dict(self.weights)
        if self.frozen == "all":
            found.requires_grad_(False)
        elif self.frozen == "first":
            found[0].requires_grad_(False)
        return Whole(found)


class Whole(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(x))
        return found


@pytest.mark.parametrize("frozen", ["none", "first", "all"])
def test_frozen_layers_of_given_weights(frozen: str, tmp_path: Path) -> None:
    task, splits = FineTuning(frozen), loaded(item_sets(pixels(), three_classes()))
    engine = fused(task, splits)
    lanes = [
        lane(seed=i, key=i, optimizer="adamw", learning_rate=0.01 * (i + 1), batch_size=16)
        for i in range(3)
    ]
    add(engine, lanes)
    reports = advance(engine, 3)
    assert (sizes_of(engine), engine.alone) == ([3], {})
    assert_as_alone(engine, lanes, reports, lambda: solo(task, splits), tmp_path)
    for one in lanes:
        state = saved(engine, one.key, tmp_path).model
        same = {
            name
            for name, value in task.weights.items()
            if torch.equal(state[f"body.{name}"], value)
        }
        weights = {"0.weight"}
        assert weights & same == (set() if frozen == "none" else weights)
        assert ("1.weight" in same) == (frozen == "all")


class Kept(Task):
    """A frozen body that all models have, with dropout, and a new head."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(12)
            layers = [nn.Flatten(), nn.Linear(128, 144), nn.Tanh(), nn.Dropout(0.4)]
            self.body = nn.Sequential(*layers).requires_grad_(False)

    def model(self, params: Params) -> nn.Module:
        return Whole(self.body)


@pytest.mark.parametrize("make", [fused, solo], ids=["fused", "solo"])
def test_frozen_layers_that_all_trials_share(make: Any, tmp_path: Path) -> None:
    splits = loaded(item_sets(pixels(), three_classes()))
    task, lanes = Kept(), [lane(seed=i, key=i, batch_size=16, learning_rate=0.1) for i in range(3)]
    engines = [fused(task, splits)] if make is fused else [solo(task, splits) for _ in lanes]
    for one, engine in zip(lanes, engines * 3, strict=False):
        add(engine, [one])
    reports = {key: found for engine in engines for key, found in advance(engine, 3).items()}
    for one in lanes:
        # A task of its own, whose body is in no other model.
        alone = solo(Kept(), splits)
        add(alone, [one])
        assert_same_reports(reports[one.key], advance(alone, 3)[one.key])


class Again(Blobs):
    """A task that returns one model for all trials."""

    def __init__(self) -> None:
        self.network = nn.Linear(2, 3)

    def model(self, params: Params) -> nn.Module:
        return self.network


@pytest.mark.parametrize("make", [fused, solo], ids=["fused", "solo"])
def test_a_model_that_is_returned_twice_is_refused(make: Any) -> None:
    engine = make(Again())
    assert engine.add(lane(key=1, batch_size=16)) is None
    advance(engine)
    if make is solo:
        engine.remove(1)
    failure = engine.add(lane(key=2, batch_size=16))
    assert failure.reason == "user_code"
    assert "Again.model must build a new model each time" in failure.message
