from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    StepLR,
)

from hpo.spec.space.params import Params
from hpo.train.recipe.hyperparameters import complete
from hpo.train.recipe.schedules import SCHEDULES, factor

HORIZON = 20
TORCH: dict[str, Callable[[Optimizer, int], LRScheduler]] = {
    "constant": lambda o, n: ConstantLR(o, factor=1.0),
    "step": lambda o, n: StepLR(o, step_size=4, gamma=0.3),
    "exponential": lambda o, n: ExponentialLR(o, gamma=0.3),
    "cosine": lambda o, n: CosineAnnealingLR(o, T_max=n),
}
VALUES = {"step_size": 4, "gamma": 0.3}


def rates(make: Callable[[Optimizer], LRScheduler], n: int) -> list[float]:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(n):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def ours(name: str, n: int = HORIZON, **values: Any) -> list[float]:
    params = complete(Params({"schedule": name, **VALUES, **values}), {})
    return [factor(epoch, HORIZON, params) for epoch in range(n)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_as_in_torch(name: str) -> None:
    expected = rates(lambda o: TORCH[name](o, HORIZON), HORIZON)
    assert ours(name) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("warmup", [1, 5])
@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_goes_before(name: str, warmup: int) -> None:
    rising = rates(lambda o: LinearLR(o, 1 / (warmup + 1), 1.0, total_iters=warmup), warmup)
    rest = HORIZON - warmup
    after = rates(lambda o: TORCH[name](o, rest), rest)
    found = ours(name, warmup_epochs=warmup)
    assert found == pytest.approx([*rising, *after], rel=1e-9)
    assert found[warmup] == 1.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_reads_what_it_says(name: str) -> None:
    params = complete(Params({"schedule": name}), {})
    factor(3, HORIZON, params)
    assert params.read == {"schedule", "warmup_epochs", *SCHEDULES[name].reads}


def test_cosine_stays_at_its_end() -> None:
    assert ours("cosine", HORIZON + 3)[HORIZON:] == [0.0] * 3


def test_a_warm_up_may_take_the_whole_trial() -> None:
    assert all(0 < rate <= 1 for rate in ours("cosine", warmup_epochs=2 * HORIZON))
    assert ours("cosine", HORIZON + 1, warmup_epochs=HORIZON)[-1] == 0.0
