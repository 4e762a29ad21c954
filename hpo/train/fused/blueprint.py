"""What all members of a stack have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from hpo.spec.params import Params
from hpo.train.fused.course import Eager, Stepper
from hpo.train.fused.layout import Layout
from hpo.train.fused.loss import LaneLoss
from hpo.train.fused.networks import Network
from hpo.train.scoring import Score
from hpo.train.task import Task

if TYPE_CHECKING:
    from hpo.train.data import Splits


@dataclass(frozen=True)
class Blueprint:
    """What all members of a stack have in common.

    Attributes:
        task: The task.
        splits: Its data, on the device.
        score: What trials are compared by.
        model: The first member's, lifted, on the device: a stand-in for all.
        network: Its forward and backward pass.
        layout: Of its parameters.
        loss: From the members' params.
        params: The first member's.
        optimizer: Its name.
        stepper: Makes what takes the steps of a stack.
        batch_size: Samples that a lane computes with at once: its batch, or a part of that.
    """

    task: Task
    splits: Splits
    score: Score
    model: nn.Module
    network: Network
    layout: Layout
    loss: Callable[[Sequence[Params]], LaneLoss]
    params: Params
    optimizer: str
    batch_size: int
    stepper: Callable[[], Stepper] = Eager

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.splits.train.y.device

    @property
    def precision(self) -> str:
        """See ``hpo.train.precision``."""
        return str(self.params["precision"])

    def probe_loss(self, n_lanes: int) -> LaneLoss:
        """Returns the loss of so many lanes like the first member."""
        return self.loss([self.params] * n_lanes)
