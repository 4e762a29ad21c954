"""Metrics of torchmetrics by name.

Importing torchmetrics takes one and a half seconds, whatever part of it is imported. So it is
imported when the first of these metrics is computed, and a study that names none does without it.
Shapes: N samples, C classes, T columns of targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from torch import Tensor

from hpo.train.objective.metric_states import MetricState, TorchMetric, precise
from hpo.train.objective.outputs import like_targets, require_logits

_TOP: Final = 5
_Inputs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, int]]


@dataclass(frozen=True)
class OfTorchmetrics:
    """The construction of a metric of torchmetrics.

    Attributes:
        make: Makes it for a number of classes, or of columns of targets.
        prepare: Turns outputs and targets into what it takes, and the number.
        needs_units: Whether it has a meaning only in the targets' own units.
    """

    make: Callable[[int], Any]
    prepare: _Inputs
    needs_units: bool = False

    def state(self) -> MetricState:
        """Returns a state without samples."""
        return TorchMetric(self.make, self.prepare)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the metric of a whole split."""
        state = self.state()
        state.update(outputs, targets)
        return state.compute()


def _of_classes(name: str, n_classes: int, **options: Any) -> Any:
    from torchmetrics import classification

    return getattr(classification, f"Multiclass{name}")(n_classes, validate_args=False, **options)


def _top5(n_classes: int) -> Any:
    return _of_classes("Accuracy", n_classes, average="micro", top_k=min(_TOP, n_classes))


def _average_precision(n_classes: int) -> Any:
    from torchmetrics import classification

    if n_classes == 2:
        return classification.BinaryAveragePrecision(validate_args=False)
    return _of_classes("AveragePrecision", n_classes)


def _perplexity(n_classes: int) -> Any:
    from torchmetrics.text import Perplexity

    return Perplexity()


def _of_numbers(name: str, n_columns: int) -> Any:
    from torchmetrics import regression

    options = {"num_outputs": n_columns} if name.endswith("CorrCoef") else {}
    return getattr(regression, name)(**options)


def _logits(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, int]:
    require_logits(outputs, targets)
    return outputs.flatten(0, -2), targets.flatten(), outputs.shape[-1]


def _probabilities(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, int]:
    logits, truth, n_classes = _logits(outputs, targets)
    # In double precision, where it matters less that sure predictions are all rounded to 1.
    probabilities = precise(logits).softmax(-1)
    return (probabilities[:, 1] if n_classes == 2 else probabilities), truth, n_classes


def _calibrated(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, int]:
    logits, truth, n_classes = _logits(outputs, targets)
    return logits.softmax(-1), truth, n_classes


def _sequence(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, int]:
    logits, truth, n_classes = _logits(outputs, targets)
    return logits[None], truth[None], n_classes


def _numbers(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, int]:
    # torchmetrics takes variances as differences of sums, which loses digits far from 0.
    found, targets = precise(like_targets(outputs, targets)), precise(targets)
    n_columns = 1 if targets.dim() == 1 else targets[0:1].numel()
    if n_columns == 1:
        return found.flatten(), targets.flatten(), 1
    return found.flatten(1), targets.flatten(1), n_columns


CLASSES: Final[Mapping[str, OfTorchmetrics]] = {
    "top5_accuracy": OfTorchmetrics(_top5, _logits),
    "precision": OfTorchmetrics(partial(_of_classes, "Precision"), _logits),
    "recall": OfTorchmetrics(partial(_of_classes, "Recall"), _logits),
    "mcc": OfTorchmetrics(partial(_of_classes, "MatthewsCorrCoef"), _logits),
    "cohen_kappa": OfTorchmetrics(partial(_of_classes, "CohenKappa"), _logits),
    "average_precision": OfTorchmetrics(_average_precision, _probabilities),
    "calibration_error": OfTorchmetrics(partial(_of_classes, "CalibrationError"), _calibrated),
    "perplexity": OfTorchmetrics(_perplexity, _sequence),
}
NUMBERS: Final[Mapping[str, OfTorchmetrics]] = {
    "mape": OfTorchmetrics(
        partial(_of_numbers, "MeanAbsolutePercentageError"), _numbers, needs_units=True
    ),
    "smape": OfTorchmetrics(
        partial(_of_numbers, "SymmetricMeanAbsolutePercentageError"), _numbers, needs_units=True
    ),
    "explained_variance": OfTorchmetrics(partial(_of_numbers, "ExplainedVariance"), _numbers),
    "pearson": OfTorchmetrics(partial(_of_numbers, "PearsonCorrCoef"), _numbers),
    "spearman": OfTorchmetrics(partial(_of_numbers, "SpearmanCorrCoef"), _numbers),
}
