"""Base class of the ready-made tasks: the task has its data set, the study chooses the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.tasks.models import Shape, build, build_binary
from hpo.train.objective import metrics
from hpo.train.task import Task


class ReadyMade(Task):
    """A data set with any of ``MODELS`` that accepts its samples.

    Attributes:
        in_shape: Shape of one sample.
        n_outputs: Number of classes, or of values to predict; with two classes the model has one
            output.
        reports: Names of the metrics that every epoch reports.
    """

    in_shape: Shape
    n_outputs: int
    reports: ClassVar[tuple[str, ...]] = metrics.DEFAULT_METRICS["classification"]
    defaults: ClassVar[Mapping[str, Any]] = {"model": "mlp"}

    def model(self, params: Params) -> nn.Module:
        """Builds the model that the params describe."""
        if self.n_outputs == 2:
            return build_binary(params.model, self.in_shape, params)
        return build(params.model, self.in_shape, self.n_outputs, params)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float | Tensor]:
        """Returns the metrics of a whole split."""
        return metrics.measure(self.reports, outputs, targets)
