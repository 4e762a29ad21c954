"""Lane samples: where the steps of a stack's epoch have their samples from.

Samples in memory are gathered for each lane in its own order. Batches of a loader come in an order
that follows from the study's seed and the epoch: lanes at the same epoch share them, so that each
file is read once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Protocol

from torch import Tensor
from typing_extensions import override

from hpo.train.data.batch import Batch, Tensors, joined, mapped
from hpo.train.data.loading.item_source import BatchKey
from hpo.train.data.loading.loaded_splits import LoadedPart
from hpo.train.data.splits import Part
from hpo.train.fused.stack.folds import Folds
from hpo.train.recipe.random_streams import sample_order


class LaneSamples(Protocol):
    """The samples of K lanes in one epoch."""

    def at(self, i: int, begin: int, end: int) -> Tensors:
        """Returns what is new in a step, on the device: places of samples, or samples.

        Args:
            i: Number of the step; steps come in order, and 0 begins the epoch again.
            begin: First place of the batch in the order of the samples.
            end: One past the last place.
        """

    def taken(self, new: Tensors) -> tuple[Tensors, Tensors]:
        """Returns inputs and targets of shape [K, B, ...], without a glance at any number.

        Args:
            new: What ``at`` has returned, or a copy of it.
        """

    def fingerprint(self) -> Hashable:
        """Returns what decides which kernels ``taken`` runs, and on which memory."""


class GatheredSamples(LaneSamples):
    """Samples in memory, of each lane in its own order.

    Args:
        part: The samples, on the device.
        orders: Of each lane's samples, of shape [K, N].
    """

    def __init__(self, part: Part, orders: Tensor) -> None:
        self._part, self._orders = part, orders

    @override
    def at(self, i: int, begin: int, end: int) -> Tensors:
        return self._orders[:, begin:end]

    @override
    def taken(self, new: Tensors) -> tuple[Tensors, Tensors]:
        x, y, shape = self._part.x, self._part.y, new.shape
        rows = new.reshape(-1)
        return (
            x.index_select(0, rows).view(*shape, *x.shape[1:]),
            y.index_select(0, rows).view(*shape, *y.shape[1:]),
        )

    @override
    def fingerprint(self) -> Hashable:
        return tuple((t.data_ptr(), tuple(t.shape)) for t in (self._part.x, self._part.y))


class SharedBatches(LaneSamples):
    """Batches of a loader, each of which all lanes at the same epoch share.

    What models see of a batch is computed once, not for each lane.

    Args:
        begin: Begins an epoch: returns its batches, in each step one for each pass over the items.
        passes: Number of each lane's pass, from 0.
        prepare: Returns inputs as models see them; see ``Task.prepare``.
    """

    def __init__(
        self,
        begin: Callable[[], Iterator[Batch]],
        passes: Sequence[int],
        prepare: Callable[[Tensors], Tensors],
    ) -> None:
        self._begin, self._passes, self._prepare = begin, tuple(passes), prepare
        self._n_passes = max(passes) + 1
        self._batches: Iterator[Batch] = iter(())

    @override
    def at(self, i: int, begin: int, end: int) -> Tensors:
        if i == 0:
            self._batches = self._begin()
        found = [next(self._batches) for _ in range(self._n_passes)]
        return tuple((batch.inputs, batch.targets) for batch in found)

    @override
    def taken(self, new: Tensors) -> tuple[Tensors, Tensors]:
        inputs = self._of_lanes([self._prepare(inputs) for inputs, _ in new])
        return inputs, self._of_lanes([targets for _, targets in new])

    @override
    def fingerprint(self) -> Hashable:
        return self._passes

    def _of_lanes(self, values: Sequence[Tensors]) -> Tensors:
        if self._n_passes == 1:
            # One batch in memory, whatever the number of lanes.
            n_lanes = len(self._passes)
            return mapped(lambda tensor: tensor.expand(n_lanes, *tensor.shape), values[0])
        own = [mapped(lambda tensor: tensor.unsqueeze(0), value) for value in values]
        return joined([own[i] for i in self._passes])


def shared_batches(
    folds: Folds,
    lanes: Sequence[tuple[int, int]],
    bounds: Sequence[tuple[int, int]],
    prepare: Callable[[Tensors], Tensors],
) -> SharedBatches:
    """Returns the batches of an epoch: one pass over the items for each epoch that lanes are at.

    The passes are interleaved: the loader reads the next step's batches while one is computed.

    Args:
        folds: The data, of as many training samples in each fold.
        lanes: Fold and completed epochs of each lane.
        bounds: Begin and end of each batch within an order of the samples.
        prepare: See ``SharedBatches``.
    """
    passes = sorted(set(lanes))

    def begin() -> Iterator[Batch]:
        first, rows = _loaded_train(folds, 0), []
        for fold, epoch in passes:
            part = _loaded_train(folds, fold)
            rows.append(part.rows[sample_order(len(part), part.seed, epoch).numpy()])
        keys = [
            BatchKey(first.source, tuple(order[start:end].tolist()), epoch)
            for start, end in bounds
            for order, (_, epoch) in zip(rows, passes, strict=True)
        ]
        return first.loader.batches(keys, first.device)

    return SharedBatches(begin, [passes.index(lane) for lane in lanes], prepare)


def _loaded_train(folds: Folds, fold: int) -> LoadedPart:
    part = folds[fold].train
    assert isinstance(part, LoadedPart)
    return part
