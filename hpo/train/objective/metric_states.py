"""Metric states: what metrics keep of the batches that they have seen.

Shapes: N samples, C classes, T columns of targets.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from typing_extensions import override

Sums: TypeAlias = dict[str, Tensor]
"""Tensors that add up over batches."""


class MetricState(Protocol):
    """The state of one metric over batches."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Takes a batch into account.

        Args:
            outputs: Of a model, of shape [N, ...].
            targets: Of shape [N, ...].

        Raises:
            TaskError: The shapes do not go together.
        """

    def compute(self) -> Tensor:
        """Returns the metric of all samples so far, a scalar; NaN before any."""


@dataclass(frozen=True)
class Additive:
    """A metric whose state is a few sums: its memory does not grow, and ``vmap`` can take both.

    Attributes:
        sums: Of the outputs and targets of a batch.
        value: Of the sums over all batches.
    """

    sums: Callable[[Tensor, Tensor], Sums]
    value: Callable[[Sums], Tensor]

    def state(self) -> MetricState:
        """Returns a state without samples."""
        return _SumState(self)


class _SumState(MetricState):
    def __init__(self, metric: Additive) -> None:
        self._metric = metric
        self._sums: Sums = {}

    @override
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        new = self._metric.sums(outputs, targets)
        self._sums = {name: self._sums.get(name, 0) + value for name, value in new.items()}

    @override
    def compute(self) -> Tensor:
        return self._metric.value(self._sums) if self._sums else torch.tensor(torch.nan)


class KeptState(MetricState):
    """The state of a metric that needs all outputs at once, such as a rank: it keeps them.

    Args:
        function: The metric, of outputs and targets.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._function = function
        self._batches: list[tuple[Tensor, Tensor]] = []

    @override
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self._batches.append((outputs.detach(), targets.detach()))

    @override
    def compute(self) -> Tensor:
        if not self._batches:
            return torch.tensor(torch.nan)
        outputs, targets = (torch.cat(parts) for parts in zip(*self._batches, strict=True))
        return self._function(outputs, targets)


class TorchMetric(MetricState):
    """The state of a metric of torchmetrics.

    Args:
        make: Makes the ``torchmetrics.Metric`` for a number of classes, or of columns of targets.
        prepare: Turns outputs and targets into what it takes, and the number.
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, int]],
    ) -> None:
        self._make, self._prepare = make, prepare
        self._metric: Any = None
        self._has_nan: Tensor | bool = False

    @override
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        predictions, truth, n = self._prepare(outputs, targets)
        if not len(truth):
            return
        with warnings.catch_warnings(action="ignore"):
            # Such as that it keeps all outputs in memory.
            if self._metric is None:
                self._metric = self._make(n).to(predictions.device)
            self._metric.update(predictions, truth)
        # torchmetrics ranks NaN, or takes it for a class.
        self._has_nan = self._has_nan | outputs.isnan().any()

    @override
    def compute(self) -> Tensor:
        if self._metric is None:
            return torch.tensor(torch.nan)
        with warnings.catch_warnings(action="ignore"):
            value: Tensor = self._metric.compute()
        return value.mean().masked_fill(torch.as_tensor(self._has_nan), torch.nan)


def precise(values: Tensor) -> Tensor:
    """Returns values in which sums over many batches lose no digits."""
    # MPS has no double precision.
    return values.float() if values.device.type == "mps" else values.double()
