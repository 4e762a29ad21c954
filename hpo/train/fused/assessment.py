"""What K models are worth on one part of the data: the same metrics as for one model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import vmap

from hpo.train.evaluation import as_float, floats, rows_per_chunk
from hpo.train.fused.draws import Draws
from hpo.train.fused.loss import CrossEntropy
from hpo.train.seeds import derive, seeded
from hpo.train.task import Task

if TYPE_CHECKING:
    from hpo.train.data import Part


class Assessment:
    """Loss and metrics of a task, for all lanes at once where ``vmap`` can take them.

    Args:
        task: Gives loss and metrics.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._is_mapped: bool | None = None

    def evaluate(
        self,
        predict: Callable[[Tensor], Tensor],
        part: Part,
        prefix: str,
        epochs: Sequence[tuple[int, int]],
    ) -> list[dict[str, float]]:
        """Measures K models; see ``hpo.train.evaluation.evaluate`` for one.

        Args:
            predict: From inputs [N, ...] to outputs [K, N, ...].
            part: The samples.
            prefix: Begins the metrics' names.
            epochs: Each lane's seed and the epochs that it had completed before: what metrics
                that draw random numbers begin with.

        Raises:
            TaskError: A metric is no single number.
        """
        n_rows = max(1, rows_per_chunk(part.x) // len(epochs))
        with torch.no_grad():
            chunks = [predict(chunk) for chunk in torch.split(part.x, n_rows)]
            outputs = chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=1)
            return [
                {f"{prefix}_loss": found.pop(f"{prefix}_loss"), **found}
                for found in self._measure(outputs, part.y, prefix, epochs)
            ]

    def _measure(
        self, outputs: Tensor, y: Tensor, prefix: str, epochs: Sequence[tuple[int, int]]
    ) -> list[dict[str, float]]:
        if self._is_mapped is None:
            self._is_mapped = self._can_map(outputs, y)
        if self._is_mapped:
            return _apart(self._together(outputs, y), prefix)
        found = []
        for one, (seed, epoch) in zip(outputs, epochs, strict=True):
            with seeded(derive(seed, "noise", epoch), y.device):
                found.append(self._one(one, y, prefix))
        return found

    def _can_map(self, outputs: Tensor, y: Tensor) -> bool:
        with seeded(0, y.device):
            draws = Draws(y.device)
            try:
                self._together(outputs, y)
            except Exception:  # noqa: BLE001 - one lane alone shows whether it was the task's fault
                return False
            return not draws.any

    def _together(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        losses = self._losses(outputs, y)
        metrics: Mapping[str, Any] = vmap(self._task.metrics, in_dims=(0, None))(outputs, y)
        return {name: t.view(len(outputs)) for name, t in {**metrics, "loss": losses}.items()}

    def _losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        if self._task.has_own("loss") or y.is_floating_point():
            losses: Tensor = vmap(self._task.loss, in_dims=(0, None))(outputs, y)
            return losses
        return CrossEntropy(None)(outputs, y.expand(len(outputs), *y.shape))

    def _one(self, outputs: Tensor, y: Tensor, prefix: str) -> dict[str, float]:
        loss = as_float("loss", self._task.loss(outputs, y))
        measured = {f"{prefix}_loss": loss}
        if math.isfinite(loss):
            measured = floats(self._task.metrics(outputs, y), prefix) | measured
        return measured


def _apart(found: Mapping[str, Tensor], prefix: str) -> list[dict[str, float]]:
    """Returns each lane's values: one transfer, and only the loss where it is not finite."""
    names = list(found)
    rows = torch.stack([found[name].double() for name in names], dim=1).tolist()
    every = [dict(zip(names, row, strict=True)) for row in rows]
    return [
        {f"{prefix}_{n}": v for n, v in one.items() if n == "loss" or math.isfinite(one["loss"])}
        for one in every
    ]
