"""Stacked evaluation: loss and metrics of all lanes of a stack, as of one model each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from hpo.train.data.batch import Tensors, joined, leaves, mapped
from hpo.train.data.loading.loaded_splits import LoadedPart
from hpo.train.evaluation import (
    AnyPart,
    as_float,
    floats,
    measure,
    outputs_of,
    rows_per_batch,
    rows_per_chunk,
)
from hpo.train.fused.kernels.networks import Values
from hpo.train.fused.kernels.stacked_losses import LaneLoss
from hpo.train.fused.kernels.step_checks import RngGuard
from hpo.train.fused.stack.lane_state import FIXED, LaneState
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.recipe.precision import products
from hpo.train.recipe.random_streams import derive, seeded
from hpo.train.user_code_guard import user_code


class StackedEvaluation:
    """Loss and metrics of a task, for all lanes at once where ``vmap`` can take them.

    Args:
        template: What the lanes have in common.
    """

    def __init__(self, template: StackTemplate) -> None:
        self._template = template
        self._criterion = template.criterion
        self._is_mapped: bool | None = None

    def validate(
        self, lane_states: Sequence[LaneState], weights: Values, fixed: Values
    ) -> list[dict[str, float]]:
        """Measures lanes on the validation samples of their folds.

        Args:
            lane_states: The lanes.
            weights: Parameters of each, [K, ...] by name.
            fixed: The rest of each.
        """
        template, found = self._template, dict[int, dict[str, float]]()
        for fold in sorted({lane_state.lane.fold for lane_state in lane_states}):
            rows = [i for i, lane_state in enumerate(lane_states) if lane_state.lane.fold == fold]
            values = (weights, fixed)
            if len(rows) < len(lane_states):
                index = torch.tensor(rows, device=template.device)
                values = (_select(weights, index), _select(fixed, index))
            chosen = [lane_states[i] for i in rows]
            loss = template.reported([lane_state.params for lane_state in chosen])
            predict = partial(template.network.predict, *values)
            measured = self.evaluate(predict, template.folds[fold].val, "val", chosen, loss)
            found |= zip(rows, measured, strict=True)
        return [found[i] for i in range(len(lane_states))]

    def evaluate(
        self,
        predict: Callable[[Tensors], Tensors],
        part: AnyPart,
        prefix: str,
        lane_states: Sequence[LaneState],
        loss: LaneLoss,
    ) -> list[dict[str, float]]:
        """Measures K models; see ``hpo.train.evaluation.evaluate`` for one.

        Args:
            predict: From inputs [N, ...] to outputs [K, N, ...].
            part: The samples; those of a loader are read once for all lanes.
            prefix: Begins the metrics' names.
            lane_states: The lanes, with the epochs that they had completed before.
            loss: That is reported.

        Raises:
            TaskError: A metric is no single number.
        """
        with torch.no_grad():
            outputs, targets = self._outputs(predict, part, len(lane_states))
            return [
                {f"{prefix}_loss": found.pop(f"{prefix}_loss"), **found}
                for found in self._measure(outputs, targets, prefix, lane_states, loss)
            ]

    def test_outputs(
        self, lane_state: LaneState, weights: Mapping[str, Tensor], tensors: Values
    ) -> Tensors | None:
        """Returns what one lane's model makes of the test samples, [N, ...]; None without any.

        Args:
            lane_state: The lane.
            weights: State dict of its best epoch.
            tensors: Its tensors, for buffers that no state dict has.
        """
        part, model = self._test_part(lane_state), self._template.model
        if part is None:
            return None
        # The stack computes with its rows: the values that the template's model has do not matter.
        with self._prepared(lane_state):
            for name, buffer in model.named_buffers():
                if name not in weights:
                    buffer.copy_(tensors[FIXED + name])
            model.load_state_dict(weights)
            return outputs_of(model, part, lane_state.params, self._criterion.task.prepare)

    def test_metrics(self, lane_state: LaneState, outputs: Tensors) -> dict[str, float]:
        """Returns ``test_*`` metrics of outputs for the test samples of a lane's fold."""
        part = self._test_part(lane_state)
        assert part is not None
        with self._prepared(lane_state):
            return measure(self._criterion, lane_state.params, outputs, part, "test")

    def _test_part(self, lane_state: LaneState) -> AnyPart | None:
        return self._template.folds[lane_state.lane.fold].test

    @contextmanager
    def _prepared(self, lane_state: LaneState) -> Iterator[None]:
        seed = derive(lane_state.lane.seed, "noise", lane_state.epoch)
        precision, device = self._template.precision, self._template.device
        with user_code("the task"), seeded(seed, device), products(precision, device):
            yield

    def _outputs(
        self, predict: Callable[[Tensors], Tensors], part: AnyPart, n_lanes: int
    ) -> tuple[Tensors, Tensors]:
        """Returns the outputs [K, N, ...] of all lanes, and the targets [N, ...]."""
        if not isinstance(part, LoadedPart):
            return _chunked(predict, part.x, n_lanes), part.y
        chunks, targets = [], []
        for batch in part.in_order(rows_per_batch(part)):
            inputs = self._criterion.task.prepare(batch.inputs)
            chunks.append(_chunked(predict, inputs, n_lanes))
            targets.append(batch.targets)
        return _joined(chunks), joined(targets)

    def _measure(
        self,
        outputs: Tensors,
        y: Tensors,
        prefix: str,
        lane_states: Sequence[LaneState],
        loss: LaneLoss,
    ) -> list[dict[str, float]]:
        if self._is_mapped is None:
            self._is_mapped = self._can_map(outputs, y, loss)
        if self._is_mapped:
            return _apart(self._together(outputs, y, loss), prefix)
        found = []
        for i, lane_state in enumerate(lane_states):
            one = mapped(itemgetter(i), outputs)
            # What metrics that draw random numbers begin with.
            with seeded(
                derive(lane_state.lane.seed, "noise", lane_state.epoch), self._template.device
            ):
                found.append(self._one(one, y, prefix, lane_state))
        return found

    def _can_map(self, outputs: Tensors, y: Tensors, loss: LaneLoss) -> bool:
        device = self._template.device
        with seeded(0, device):
            rng_guard = RngGuard(device)
            try:
                self._together(outputs, y, loss)
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001 - one lane alone shows if it was the task's fault
                return False
            return not rng_guard.has_drawn

    def _together(self, outputs: Tensors, y: Tensors, loss: LaneLoss) -> dict[str, Tensor]:
        n_lanes = len(leaves(outputs)[0])
        losses = loss(outputs, mapped(lambda tensor: tensor.expand(n_lanes, *tensor.shape), y))
        metrics: Mapping[str, Any] = vmap(self._criterion.metrics, in_dims=(0, None))(outputs, y)
        return {name: t.view(n_lanes) for name, t in {**metrics, "loss": losses}.items()}

    def _one(
        self, outputs: Tensors, y: Tensors, prefix: str, lane_state: LaneState
    ) -> dict[str, float]:
        loss = as_float("loss", self._criterion.reported(lane_state.params)(outputs, y))
        measured = {f"{prefix}_loss": loss}
        if math.isfinite(loss):
            measured = floats(self._criterion.metrics(outputs, y), prefix) | measured
        return measured


def _chunked(predict: Callable[[Tensors], Tensors], inputs: Tensors, n_lanes: int) -> Tensors:
    """Returns the outputs [K, N, ...] for inputs [N, ...], by chunks that fit in memory."""
    found = leaves(inputs)
    n, most = len(found[0]), min(map(rows_per_chunk, found))
    n_rows = max(1, most // n_lanes)
    if n <= n_rows:
        return predict(inputs)
    parts = [
        predict(mapped(itemgetter(slice(begin, begin + n_rows)), inputs))
        for begin in range(0, n, n_rows)
    ]
    return _joined(parts)


def _joined(chunks: Sequence[Tensors]) -> Tensors:
    """Returns outputs [K, B, ...] of several chunks of samples as [K, N, ...]."""
    if isinstance(chunks[0], Tensor):
        return chunks[0] if len(chunks) == 1 else torch.cat(list(chunks), dim=1)
    rows = joined([mapped(lambda tensor: tensor.transpose(0, 1), chunk) for chunk in chunks])
    return mapped(lambda tensor: tensor.transpose(0, 1).contiguous(), rows)


def _select(values: Values, index: Tensor) -> Values:
    return {name: tensor.index_select(0, index) for name, tensor in values.items()}


def _apart(found: Mapping[str, Tensor], prefix: str) -> list[dict[str, float]]:
    """Returns each lane's values: one transfer, and only the loss where it is not finite."""
    names = list(found)
    rows = torch.stack([found[name].double() for name in names], dim=1).tolist()
    every = [dict(zip(names, row, strict=True)) for row in rows]
    return [
        {f"{prefix}_{n}": v for n, v in one.items() if n == "loss" or math.isfinite(one["loss"])}
        for one in every
    ]
