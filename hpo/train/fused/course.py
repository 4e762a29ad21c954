"""One epoch of a stack, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from hpo.train.augmentation import Augmentation
from hpo.train.fused.averages import Averages
from hpo.train.fused.loss import LaneLoss, MixedLoss
from hpo.train.fused.networks import Network
from hpo.train.fused.updates import RULES, Columns, add_penalties
from hpo.train.noise import step_keys
from hpo.train.seeds import batch_bounds, derive, sample_order

if TYPE_CHECKING:
    from hpo.train.data import Part

_STEP: Final = "step"


@dataclass(frozen=True)
class Course:
    """The tensors that the steps of an epoch read and write; all are those of the stack.

    Attributes:
        part: The training samples, of all folds.
        orders: Of each lane's samples, of shape [K, N].
        keys: Of the noise, of shape [S, K].
        bounds: Begin and end of each batch.
        weights: Of shape [K, P].
        named: The same by parameter.
        grads: Of shape [K, P]; each step overwrites them.
        fixed: Buffers and frozen parameters by name.
        state: Of the optimizer, with ``step``.
        columns: Hyperparameters.
        network: Forward and backward pass, bound to ``grads``.
        loss: Of outputs and targets.
        optimizer: Its name.
        augmentation: Of the samples; None where no lane has any.
        averages: Of the weights; None where no lane is evaluated by them.
    """

    part: Part
    orders: Tensor
    keys: Tensor
    bounds: list[tuple[int, int]]
    weights: Tensor
    named: Mapping[str, Tensor]
    grads: Tensor
    fixed: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    columns: Columns
    network: Network
    loss: LaneLoss
    optimizer: str
    augmentation: Augmentation | None = None
    averages: Averages | None = None

    def step(self, i: int) -> Tensor:
        """Takes one step; returns the losses before it, [K], on the device."""
        begin, end = self.bounds[i]
        n_lanes, n_rows = len(self.orders), end - begin
        rows = self.orders[:, begin:end].reshape(-1)
        x = self.part.x.index_select(0, rows).view(n_lanes, n_rows, *self.part.x.shape[1:])
        y = self.part.y.index_select(0, rows).view(n_lanes, n_rows, *self.part.y.shape[1:])
        loss, augmentation = self.loss, self.augmentation
        if augmentation is not None:
            x = augmentation.inputs(i, x)
            if augmentation.shares is not None:
                loss = MixedLoss(loss, augmentation.shares[i])
        losses = self.network.train(self.named, self.fixed, x, y, self.keys[i], loss)
        self.state[_STEP].add_(1)
        add_penalties(self.weights, self.grads, self.columns)
        RULES[self.optimizer].update(self.weights, self.grads, self.state, self.columns)
        if self.averages is not None:
            self.averages.mix(i)
        return losses

    def run(self) -> list[float]:
        """Takes all steps; returns each lane's loss: the mean over all samples.

        The device is not waited for before the end.
        """
        losses = torch.stack([self.step(i) for i in range(len(self.bounds))])
        # In double precision on the CPU: the mean must not lose digits over many steps.
        sizes = torch.tensor([end - begin for begin, end in self.bounds], dtype=torch.float64)
        means: list[float] = (sizes @ losses.cpu().double() / sizes.sum()).tolist()
        return means


def orders_of(n: int, seeds: Sequence[int], epochs: Sequence[int]) -> Tensor:
    """Returns the order in which each lane visits ``n`` samples, of shape [K, n]."""
    pairs = zip(seeds, epochs, strict=True)
    return torch.stack([sample_order(n, seed, epoch) for seed, epoch in pairs])


def keys_of(n: int, batch_size: int, seeds: Sequence[int], epochs: Sequence[int]) -> Tensor:
    """Returns the noise key of each step and lane, int32, of shape [S, K]."""
    pairs = zip(seeds, epochs, strict=True)
    epoch_keys = [derive(seed, "noise", epoch) for seed, epoch in pairs]
    n_steps = len(batch_bounds(n, batch_size))
    return torch.from_numpy(np.stack([step_keys(key, n_steps) for key in epoch_keys], axis=1))
