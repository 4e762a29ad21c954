"""What the tasks with a data set of their own have in common: a study chooses the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.tasks.models import Shape, build, build_binary
from hpo.train.objective import metrics
from hpo.train.task import Task


class ReadyMade(Task):
    """A data set, and any of ``MODELS`` that can take its samples.

    Attributes:
        in_shape: Shape of one sample.
        n_outputs: Classes, or numbers to predict. Of two classes the model has a single output.
        reports: Metrics of every epoch, by their names.
    """

    in_shape: Shape
    n_outputs: int
    reports: ClassVar[tuple[str, ...]] = metrics.DEFAULT_METRICS["classification"]
    defaults: ClassVar[Mapping[str, Any]] = {"model": "mlp"}

    def model(self, params: Params) -> nn.Module:
        """See ``Task``."""
        if self.n_outputs == 2:
            return build_binary(params.model, self.in_shape, params)
        return build(params.model, self.in_shape, self.n_outputs, params)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float | Tensor]:
        """See ``Task``."""
        return metrics.measure(self.reports, outputs, targets)
