"""Learning-rate schedules: factors of the learning rate as pure functions of the epoch.

All take the epochs completed so far, which need not be whole, and agree with
``torch.optim.lr_scheduler`` where those are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Schedule:
    """A schedule by its formula.

    Attributes:
        factor: Takes the epochs since the warm-up, their number until the end, and the params.
        reads: Names of the parameters that the formula needs.
    """

    factor: Callable[[float, float, Mapping[str, Any]], float]
    reads: tuple[str, ...] = ()


def factor(epoch: float, horizon: float, params: Mapping[str, Any]) -> float:
    """Returns what the learning rate is multiplied by.

    Warm-up rises linearly from 1 / (warmup_epochs + 1), and the schedule proper begins after it.

    Args:
        epoch: Epochs completed so far.
        horizon: Epochs of a full trial, the warm-up included.
        params: With ``schedule``, ``warmup_epochs`` and what the schedule reads.
    """
    warmup = params["warmup_epochs"]
    if epoch < warmup:
        return float((epoch + 1) / (warmup + 1))
    return SCHEDULES[params["schedule"]].factor(epoch - warmup, horizon - warmup, params)


def _constant(epoch: float, horizon: float, params: Mapping[str, Any]) -> float:
    return 1.0


def _step(epoch: float, horizon: float, params: Mapping[str, Any]) -> float:
    return float(params["gamma"] ** (epoch // params["step_size"]))


def _exponential(epoch: float, horizon: float, params: Mapping[str, Any]) -> float:
    return float(params["gamma"] ** epoch)


def _cosine(epoch: float, horizon: float, params: Mapping[str, Any]) -> float:
    """Falls from 1 to 0 over the horizon, and stays there.

    Source: Loshchilov and Hutter 2017, SGDR, equation 5, without restarts.
    """
    if epoch >= horizon:
        return 0.0
    return (1 + math.cos(math.pi * epoch / horizon)) / 2


SCHEDULES: Final[Mapping[str, Schedule]] = {
    "constant": Schedule(_constant),
    "step": Schedule(_step, ("step_size", "gamma")),
    "exponential": Schedule(_exponential, ("gamma",)),
    "cosine": Schedule(_cosine),
}
