"""What all members of a stack have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hpo.spec.params import Params
from hpo.train.criteria import Criterion
from hpo.train.fused.layout import Layout
from hpo.train.fused.loss import LaneLoss
from hpo.train.fused.networks import Network
from hpo.train.parts import Folds
from hpo.train.scoring import Score


@dataclass(frozen=True)
class Blueprint:
    """What all members of a stack have in common.

    Attributes:
        criterion: Loss and metrics.
        folds: Their data, on the device.
        n_train: Training samples of each member.
        score: What trials are compared by.
        model: The first member's, lifted, on the device: a stand-in for all.
        network: Its forward and backward pass.
        layout: Of its parameters.
        loss: What members minimise, from their params and folds.
        reported: The loss that their epochs report, from their params.
        optimizer: Its name.
        batch_size: Samples a step.
        averages: Whether members are evaluated by averages of their weights.
    """

    criterion: Criterion
    folds: Folds
    n_train: int
    score: Score
    model: nn.Module
    network: Network
    layout: Layout
    loss: Callable[[Sequence[Params], Sequence[int]], LaneLoss]
    reported: Callable[[Sequence[Params]], LaneLoss]
    optimizer: str
    batch_size: int
    averages: bool

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.folds.train.y.device
