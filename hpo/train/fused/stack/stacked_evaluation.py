"""What K models are worth on one part of the data: the same metrics as for one model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import vmap

from hpo.train.criteria import Criterion
from hpo.train.evaluation import as_float, floats, rows_per_chunk
from hpo.train.fused.kernels.networks import Values
from hpo.train.fused.kernels.rng_guard import RngGuard
from hpo.train.fused.kernels.stacked_losses import LaneLoss
from hpo.train.fused.stack.lane_state import LaneState
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.recipe.random_streams import derive, seeded

if TYPE_CHECKING:
    from hpo.train.data.dataset import Part


class StackedEvaluation:
    """Loss and metrics of a task, for all lanes at once where ``vmap`` can take them.

    Args:
        criterion: Gives loss and metrics.
    """

    def __init__(self, criterion: Criterion) -> None:
        self._criterion = criterion
        self._is_mapped: bool | None = None

    def validate(
        self, blueprint: StackTemplate, members: Sequence[LaneState], weights: Values, fixed: Values
    ) -> list[dict[str, float]]:
        """Measures lanes on the validation samples of their folds.

        Args:
            blueprint: Of their stack.
            members: The lanes.
            weights: Parameters of each, [K, ...] by name.
            fixed: The rest of each.
        """
        found: dict[int, dict[str, float]] = {}
        for fold in sorted({member.lane.fold for member in members}):
            rows = [i for i, member in enumerate(members) if member.lane.fold == fold]
            values = (weights, fixed)
            if len(rows) < len(members):
                index = torch.tensor(rows, device=blueprint.device)
                values = (_select(weights, index), _select(fixed, index))
            chosen = [members[i] for i in rows]
            loss = blueprint.reported([member.params for member in chosen])
            predict = partial(blueprint.network.predict, *values)
            measured = self.evaluate(predict, blueprint.folds[fold].val, "val", chosen, loss)
            found |= zip(rows, measured, strict=True)
        return [found[i] for i in range(len(members))]

    def evaluate(
        self,
        predict: Callable[[Tensor], Tensor],
        part: Part,
        prefix: str,
        members: Sequence[LaneState],
        loss: LaneLoss,
    ) -> list[dict[str, float]]:
        """Measures K models; see ``hpo.train.evaluation.evaluate`` for one.

        Args:
            predict: From inputs [N, ...] to outputs [K, N, ...].
            part: The samples.
            prefix: Begins the metrics' names.
            members: The lanes, with the epochs that they had completed before.
            loss: That is reported.

        Raises:
            TaskError: A metric is no single number.
        """
        n_rows = max(1, rows_per_chunk(part.x) // len(members))
        with torch.no_grad():
            chunks = [predict(chunk) for chunk in torch.split(part.x, n_rows)]
            outputs = chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=1)
            return [
                {f"{prefix}_loss": found.pop(f"{prefix}_loss"), **found}
                for found in self._measure(outputs, part.y, prefix, members, loss)
            ]

    def _measure(
        self, outputs: Tensor, y: Tensor, prefix: str, members: Sequence[LaneState], loss: LaneLoss
    ) -> list[dict[str, float]]:
        if self._is_mapped is None:
            self._is_mapped = self._can_map(outputs, y, loss)
        if self._is_mapped:
            return _apart(self._together(outputs, y, loss), prefix)
        found = []
        for one, member in zip(outputs, members, strict=True):
            # What metrics that draw random numbers begin with.
            with seeded(derive(member.lane.seed, "noise", member.epoch), y.device):
                found.append(self._one(one, y, prefix, member))
        return found

    def _can_map(self, outputs: Tensor, y: Tensor, loss: LaneLoss) -> bool:
        with seeded(0, y.device):
            draws = RngGuard(y.device)
            try:
                self._together(outputs, y, loss)
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001 - one lane alone shows if it was the task's fault
                return False
            return not draws.any

    def _together(self, outputs: Tensor, y: Tensor, loss: LaneLoss) -> dict[str, Tensor]:
        losses = loss(outputs, y.expand(len(outputs), *y.shape))
        metrics: Mapping[str, Any] = vmap(self._criterion.metrics, in_dims=(0, None))(outputs, y)
        return {name: t.view(len(outputs)) for name, t in {**metrics, "loss": losses}.items()}

    def _one(self, outputs: Tensor, y: Tensor, prefix: str, member: LaneState) -> dict[str, float]:
        loss = as_float("loss", self._criterion.reported(member.params)(outputs, y))
        measured = {f"{prefix}_loss": loss}
        if math.isfinite(loss):
            measured = floats(self._criterion.metrics(outputs, y), prefix) | measured
        return measured


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
