"""Stacked epoch: the steps of one epoch of all lanes of a stack."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Protocol

import torch
from torch import Tensor
from typing_extensions import override

from hpo.train.data.batch import Tensors, leaves, mapped
from hpo.train.fused.kernels.networks import Network
from hpo.train.fused.kernels.stacked_losses import LaneLoss, MixedLoss
from hpo.train.fused.kernels.stacked_optimizers import RULES, HyperparameterColumns, add_penalties
from hpo.train.fused.stack.lane_samples import LaneSamples
from hpo.train.fused.stack.stacked_averages import StackedAverages
from hpo.train.recipe.augmentation import Augmentation
from hpo.train.recipe.counter_based_dropout import lane_keys
from hpo.train.recipe.random_streams import batch_bounds, derive

_STEP: Final = "step"


@dataclass(frozen=True)
class Feed:
    """What is new in each step.

    Attributes:
        samples: As ``LaneSamples.at`` returns them: a tensor, or tuples and dicts of tensors.
        keys: Of dropout, of shape [K].
        mixtures: Share of each lane's samples in their mixtures, of shape [K]; None without mixup.
        offsets: See ``Accumulation``, of shape [K]; None, as the others, where all lanes' batches
            are of one size.
        shares: Of shape [K, 1].
        begins: Of shape [K, 1].
        ends: Of shape [K, 1].
    """

    samples: Tensors
    keys: Tensor
    mixtures: Tensor | None = None
    offsets: Tensor | None = None
    shares: Tensor | None = None
    begins: Tensor | None = None
    ends: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Returns those that there are, always in the same order."""
        parts = (self.offsets, self.shares, self.begins, self.ends)
        found = (*leaves(self.samples), self.keys, self.mixtures, *parts)
        return [tensor for tensor in found if tensor is not None]

    def copy(self) -> Feed:
        """Returns the same in memory of its own."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return Feed(**{name: mapped(torch.clone, value) for name, value in found.items()})

    def shapes(self) -> Hashable:
        """Returns shape and type of the samples."""
        return tuple((tensor.shape, tensor.dtype) for tensor in leaves(self.samples))


@dataclass(frozen=True)
class Accumulation:
    """What each micro-step is to each lane; S micro-steps, K lanes.

    Attributes:
        bounds: Begin and end of each micro-batch within the sample order.
        keys: Of dropout, int32, of shape [S, K].
        offsets: Samples of the batch that came before, int32, of shape [S, K].
        shares: Of the batch's samples, of shape [S, K, 1].
        begins: Whether a batch begins, of shape [S, K, 1].
        ends: Whether a batch ends, of shape [S, K, 1].
        updates: Whether any lane's batch ends; known without asking the device.
    """

    bounds: list[tuple[int, int]]
    keys: Tensor
    offsets: Tensor
    shares: Tensor
    begins: Tensor
    ends: Tensor
    updates: list[bool]


@dataclass(frozen=True)
class StackedEpoch:
    """The tensors that the steps of an epoch read and write; all are those of the stack.

    Attributes:
        n_lanes: K.
        samples: Where the samples of each step come from.
        keys: Of dropout, of shape [S, K].
        bounds: Begin and end of each batch, or of each micro-batch.
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
        accumulation: How micro-batches add up; None where a step is a whole batch for each lane.
        total: Of shape [K, P]: gradients of batches that are not complete yet.
        dropping: Prefixes of the names of dropout layers for which any lane has a rate.
    """

    n_lanes: int
    samples: LaneSamples
    keys: Tensor
    bounds: list[tuple[int, int]]
    weights: Tensor
    named: Mapping[str, Tensor]
    grads: Tensor
    fixed: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    columns: HyperparameterColumns
    network: Network
    loss: LaneLoss
    optimizer: str
    augmentation: Augmentation | None = None
    averages: StackedAverages | None = None
    accumulation: Accumulation | None = None
    total: Tensor | None = None
    dropping: frozenset[str] = frozenset()

    def step(self, i: int) -> Tensor:
        """Takes one step; returns the losses before it, [K], on the device."""
        losses = self.take(self.feed(i), updates=self.updates(i))
        self.average(i)
        return losses

    def average(self, i: int) -> None:
        """Adds the weights after step ``i`` to the averages, if there are any."""
        if self.averages is not None:
            self.averages.mix(i)

    def feed(self, i: int) -> Feed:
        """Returns what a step begins with."""
        begin, end = self.bounds[i]
        parts = self.accumulation
        feed = Feed(self.samples.at(i, begin, end), self.keys[i], self._mixtures(i))
        if parts is None:
            return feed
        return replace(
            feed,
            offsets=parts.offsets[i],
            shares=parts.shares[i],
            begins=parts.begins[i],
            ends=parts.ends[i],
        )

    def _mixtures(self, i: int) -> Tensor | None:
        shares = None if self.augmentation is None else self.augmentation.shares
        return None if shares is None else shares[i]

    def updates(self, i: int) -> bool:
        """Returns whether a step changes any lane's weights."""
        return self.accumulation is None or self.accumulation.updates[i]

    def take(self, feed: Feed, *, updates: bool = True) -> Tensor:
        """Computes a step, without a glance at any number on the device.

        Args:
            feed: What is new.
            updates: Whether any lane's batch is complete with it.

        Returns:
            The losses, [K].
        """
        x, y = self.samples.taken(feed.samples)
        loss = self.loss
        if self.augmentation is not None:
            x = self.augmentation.apply(x, feed.keys, feed.mixtures)
        if feed.mixtures is not None:
            loss = MixedLoss(loss, feed.mixtures)
        losses = self.network.train(self.named, self.fixed, x, y, feed.keys, loss, feed.offsets)
        if feed.ends is None:
            self._update()
        else:
            self._accumulate(feed)
            if updates:
                self._update_where(feed.ends)
        return losses

    def _update(self) -> None:
        self.state[_STEP].add_(1)
        add_penalties(self.weights, self.grads, self.columns)
        RULES[self.optimizer].update(self.weights, self.grads, self.state, self.columns)

    def _accumulate(self, feed: Feed) -> None:
        assert self.total is not None
        assert feed.begins is not None
        assert feed.shares is not None
        # Not a factor of 0: what a lane that failed has left may be no number.
        self.total.masked_fill_(feed.begins, 0).addcmul_(self.grads, feed.shares)

    def _update_where(self, ends: Tensor) -> None:
        """Takes the step of some lanes; the others stay as they are."""
        assert self.total is not None
        self.grads.copy_(self.total)
        changed = [self.weights, *self.state.values()]
        before = [tensor.clone() for tensor in changed]
        self._update()
        for tensor, old in zip(changed, before, strict=True):
            tensor.copy_(torch.where(ends.view(-1, *[1] * (tensor.dim() - 1)), tensor, old))

    def mean(self, losses: Tensor) -> list[float]:
        """Returns each lane's mean over all samples, of the losses [S, K] of all steps."""
        # In double precision on the CPU: the mean must not lose digits over many steps.
        sizes = torch.tensor([end - begin for begin, end in self.bounds], dtype=torch.float64)
        means: list[float] = (sizes @ losses.cpu().double() / sizes.sum()).tolist()
        return means

    def values(self) -> list[Tensor]:
        """Returns the tensors of another epoch that its steps read numbers from."""
        return [*self.columns.tensors(), *self.loss.tensors(), *self._strengths().values()]

    def fingerprint(self) -> Hashable:
        """Returns what decides which kernels a step runs, and on which memory.

        Steps of epochs with equal ones differ by their feeds and ``values`` only.
        """
        tensors = {"weights": self.weights, "grads": self.grads, **self.fixed, **self.state}
        if self.total is not None:
            tensors["total"] = self.total
        places = tuple((name, t.data_ptr(), tuple(t.shape)) for name, t in tensors.items())
        augmentations = (*self._strengths(), self._mixtures(0) is not None)
        n_own = len(self.loss.tensors())
        samples = self.samples.fingerprint()
        return places, samples, self.columns.decisions(), n_own, self.dropping, augmentations

    def _strengths(self) -> Mapping[str, Tensor]:
        return {} if self.augmentation is None else self.augmentation.strengths


class Stepper(Protocol):
    """Takes the steps of a stack's epochs.

    Attributes:
        is_ahead: Whether the host has nothing to do once the steps are on their way.
    """

    is_ahead: bool

    def losses(self, epoch: StackedEpoch) -> Tensor:
        """Takes all steps; returns the losses before each, [S, K].

        The device is not waited for.
        """

    def clear(self) -> None:
        """Frees what it holds between epochs."""


class Eager(Stepper):
    """Takes one step after the other."""

    is_ahead = False

    @override
    def losses(self, epoch: StackedEpoch) -> Tensor:
        return torch.stack([epoch.step(i) for i in range(len(epoch.bounds))])

    @override
    def clear(self) -> None:
        """It holds nothing."""


def keys_of(n: int, batch_size: int, seeds: Sequence[int], epochs: Sequence[int]) -> Tensor:
    """Returns the dropout key of each step and lane, int32, of shape [S, K]."""
    keys = epoch_keys(seeds, epochs)
    return torch.from_numpy(lane_keys(keys, len(batch_bounds(n, batch_size))))


def epoch_keys(seeds: Sequence[int], epochs: Sequence[int]) -> list[int]:
    """Returns the dropout key of each lane's epoch."""
    return [derive(seed, "noise", epoch) for seed, epoch in zip(seeds, epochs, strict=True)]
