"""Averages of a model's weights over its steps, which are evaluated and exported in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

AVERAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "none": (),
    "ema": ("ema_decay",),
    "swa": ("swa_start",),
}
"""Names of the params that each reads."""


def averages(params: Mapping[str, Any]) -> bool:
    """Returns whether a trial is worth what an average of its weights is worth."""
    return bool(params.get("averaging", "none") != "none")


def shares(params: Mapping[str, Any], epoch: int, n_steps: int) -> list[float]:
    """Returns the share that the weights after each step of an epoch have in the new average.

    It follows from epoch and step alone, so that no counter has to be kept.

    Args:
        params: With ``averaging`` and what it reads. ``ema`` is the exponential moving average
            over steps, which begins with the weights after the first one. ``swa`` is the mean over
            the ends of epochs from ``swa_start`` on, and until then the weights themselves.
            Source: Polyak and Juditsky 1992, Acceleration of stochastic approximation by
            averaging; Izmailov et al. 2018, Averaging weights leads to wider optima.
        epoch: Epochs completed before.
        n_steps: Of the epoch.
    """
    if params.get("averaging", "none") == "ema":
        first = 1.0 if epoch == 0 else 1 - params["ema_decay"]
        return [first, *[1 - params["ema_decay"]] * (n_steps - 1)]
    n_before = max(0, epoch + 1 - params["swa_start"]) if averages(params) else 0
    return [*[0.0] * (n_steps - 1), 1 / (1 + n_before)]


def mix_in(average: Tensor, current: Tensor, share: float | Tensor) -> None:
    """Moves an average towards what it is of; whole numbers, such as counts, are copied.

    Args:
        average: Changed in place.
        current: Of the same shape.
        share: Of the current values in the new average; a tensor that broadcasts.
    """
    if average.is_floating_point():
        torch.lerp(average, current, share, out=average)
    else:
        average.copy_(current)
