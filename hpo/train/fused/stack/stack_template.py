"""Stack template: what all lanes of a stack have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.checks.signature import Signature
from hpo.train.criteria import Criterion
from hpo.train.data.batch import Batch
from hpo.train.epoch_scores import Score
from hpo.train.fused.kernels.flat_params import ParamLayout
from hpo.train.fused.kernels.networks import Network
from hpo.train.fused.kernels.stacked_losses import LaneLoss
from hpo.train.fused.stack.folds import Folds
from hpo.train.fused.stack.stacked_epoch import Eager, Stepper


@dataclass(frozen=True)
class StackTemplate:
    """The common properties of all lanes of a stack.

    Attributes:
        signature: Of the lanes.
        criterion: Loss and metrics.
        folds: Their data, on the device.
        probe: Some training samples, on the device, as they come.
        samples: Their inputs as models see them; None where a model has several inputs.
        n_train: Training samples of each lane.
        score: What trials are compared by.
        model: The first lane's, lifted, on the device: a stand-in for all.
        network: Its forward and backward pass.
        layout: Of its parameters.
        loss: What lanes minimise, from their params and folds.
        reported: The loss that their epochs report, from their params.
        params: The first lane's.
        fold: The first lane's.
        optimizer: Its name.
        batch_size: Samples that a lane computes with at once: its batch, or a part of that.
        averages: Whether lanes are evaluated by averages of their weights.
        stepper: Makes what takes the steps of a stack.
    """

    signature: Signature
    criterion: Criterion
    folds: Folds
    probe: Batch
    samples: Tensor | None
    n_train: int
    score: Score
    model: nn.Module
    network: Network
    layout: ParamLayout
    loss: Callable[[Sequence[Params], Sequence[int]], LaneLoss]
    reported: Callable[[Sequence[Params]], LaneLoss]
    params: Params
    fold: int
    optimizer: str
    batch_size: int
    averages: bool
    stepper: Callable[[], Stepper] = Eager

    @property
    def device(self) -> torch.device:
        """The device."""
        return self.folds.device

    @property
    def precision(self) -> str:
        """How the lanes compute, as in ``hpo.train.recipe.precision``."""
        return str(self.params["precision"])

    def probe_loss(self, n_lanes: int) -> LaneLoss:
        """Returns the loss of so many lanes like the first lane."""
        return self.loss([self.params] * n_lanes, [self.fold] * n_lanes)
