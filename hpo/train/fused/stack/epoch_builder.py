"""Epoch builder: from the rows of a stack to the next epoch of its lanes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import torch
from torch import Tensor

from hpo.spec.space.params import Params
from hpo.train.fused.kernels.flat_params import ParamLayout
from hpo.train.fused.kernels.lane_rows import LaneRows
from hpo.train.fused.kernels.networks import set_active
from hpo.train.fused.kernels.stacked_optimizers import RULES, HyperparameterColumns, names_of
from hpo.train.fused.stack.lane_samples import (
    GatheredSamples,
    LaneSamples,
    SharedBatches,
    shared_batches,
)
from hpo.train.fused.stack.lane_state import FIXED, WEIGHTS, LaneState, best_names
from hpo.train.fused.stack.microbatches import accumulation_of
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.fused.stack.stacked_averages import StackedAverages
from hpo.train.fused.stack.stacked_epoch import StackedEpoch, keys_of
from hpo.train.recipe.augmentation import Augmentation
from hpo.train.recipe.hyperparameters import n_per_batch
from hpo.train.recipe.random_streams import batch_bounds, sample_order


class EpochBuilder:
    """Builds the epochs of a stack, which share the memory for gradients.

    Args:
        template: What the lanes have in common.
    """

    def __init__(self, template: StackTemplate) -> None:
        self._template = template
        self._buffers: dict[str, Tensor] = {}
        self._orders: dict[tuple[int, int], Tensor] = {}

    def build(
        self, rows: LaneRows, training: Sequence[LaneState], n_steps: int | None = None
    ) -> StackedEpoch:
        """Returns the lanes' next epoch, ready to run.

        Args:
            rows: Of the lanes.
            training: The lanes, in the order of the rows.
            n_steps: Its first steps only, to time them; None for all. Of a loader's data they all
                have the same batch.
        """
        template, n_lanes = self._template, len(training)
        n, device = template.n_train, template.device
        params = [m.params for m in training]
        seeds, epochs = [m.lane.seed for m in training], [m.epoch for m in training]
        sizes = [n_per_batch(one["batch_size"], n) for one in params]
        grads, parts = self._scratch("grads", n_lanes), None
        template.network.bind(template.layout.views(grads))
        dropping = frozenset[str]().union(*(lane_state.dropping for lane_state in training))
        set_active(template.model, lambda name: name in dropping)
        if set(sizes) == {template.batch_size}:
            keys = keys_of(n, template.batch_size, seeds, epochs).to(device)
            bounds = batch_bounds(n, template.batch_size)
        else:
            parts = accumulation_of(n, template.batch_size, sizes, seeds, epochs, device)
            keys, bounds = parts.keys, parts.bounds
        return StackedEpoch(
            n_lanes=n_lanes,
            samples=self._samples(training, bounds, is_timed=n_steps is not None),
            keys=keys,
            bounds=bounds[:n_steps],
            weights=rows[WEIGHTS],
            named=weights_of(rows, template.layout),
            grads=grads,
            fixed=fixed_of(rows, template.layout),
            state={name: rows[name] for name in (*RULES[template.optimizer].state, "step")},
            columns=self._columns(training),
            network=template.network,
            loss=template.loss(params, [m.lane.fold for m in training]),
            optimizer=template.optimizer,
            accumulation=parts,
            dropping=dropping,
            augmentation=self._augmentation(params, seeds, epochs, keys),
            averages=self._averages(rows, training, len(keys)),
            total=None if parts is None else self._scratch("total", n_lanes),
        )

    def prepare(self, training: Sequence[LaneState]) -> None:
        """Draws the orders of samples of the epoch after this one, which takes a while."""
        if self._template.folds.is_loaded:
            return
        n = self._template.n_train
        pairs = [(lane_state.lane.seed, lane_state.epoch + 1) for lane_state in training]
        self._orders = {pair: sample_order(n, *pair) for pair in pairs}

    def clear(self) -> None:
        """Frees the memory."""
        self._buffers.clear()
        self._orders.clear()

    def _averages(
        self, rows: LaneRows, training: Sequence[LaneState], n_steps: int
    ) -> StackedAverages | None:
        template = self._template
        if not template.averages:
            return None
        return StackedAverages.of(rows, best_names(template.layout), training, n_steps)

    def _augmentation(
        self, params: Sequence[Params], seeds: Sequence[int], epochs: Sequence[int], keys: Tensor
    ) -> Augmentation | None:
        samples = self._template.samples
        return None if samples is None else Augmentation.of(params, seeds, epochs, keys, samples)

    def _samples(
        self, training: Sequence[LaneState], bounds: list[tuple[int, int]], *, is_timed: bool
    ) -> LaneSamples:
        template = self._template
        if not template.folds.is_loaded:
            orders = self._orders_of(training).to(template.device)
            return GatheredSamples(template.folds.train, orders)
        prepare = template.criterion.task.prepare
        if is_timed:
            return SharedBatches(lambda: repeat(template.probe), [0] * len(training), prepare)
        passes = [(lane_state.lane.fold, lane_state.epoch) for lane_state in training]
        return shared_batches(template.folds, passes, bounds, prepare)

    def _orders_of(self, training: Sequence[LaneState]) -> Tensor:
        """Returns each lane's samples among those of all folds, of shape [K, N]."""
        template = self._template
        orders = torch.stack([self._order(lane_state, template.n_train) for lane_state in training])
        begins = [[template.folds.begins[lane_state.lane.fold]] for lane_state in training]
        return orders + torch.tensor(begins)

    def _order(self, lane_state: LaneState, n: int) -> Tensor:
        found = self._orders.get((lane_state.lane.seed, lane_state.epoch))
        return sample_order(n, lane_state.lane.seed, lane_state.epoch) if found is None else found

    def _columns(self, training: Sequence[LaneState]) -> HyperparameterColumns:
        names = names_of(self._template.optimizer)
        columns = HyperparameterColumns([m.params for m in training], names, self._template.device)
        columns.set("learning_rate", [lane_state.learning_rate for lane_state in training])
        return columns

    def _scratch(self, name: str, n_lanes: int) -> Tensor:
        """Returns zeros of shape [K, P], in the same memory as long as K stays."""
        shape = (n_lanes, self._template.layout.size)
        if name not in self._buffers or self._buffers[name].shape != shape:
            self._buffers[name] = torch.empty(shape, device=self._template.device)
        # The gaps between parameters too, where a lane that failed leaves NaN.
        return self._buffers[name].zero_()


def weights_of(rows: LaneRows, layout: ParamLayout, prefix: str = "") -> dict[str, Tensor]:
    """Returns the parameters of all rows by name, [K, ...]: views.

    Args:
        rows: Of a stack.
        layout: Of its parameters.
        prefix: ``AVERAGE`` for their averages.
    """
    return layout.views(rows[prefix + WEIGHTS])


def fixed_of(rows: LaneRows, layout: ParamLayout, prefix: str = "") -> dict[str, Tensor]:
    """Returns buffers and frozen parameters of all rows by name, [K, ...]; see ``weights_of``."""
    return {name: rows[prefix + FIXED + name] for name in layout.fixed}
