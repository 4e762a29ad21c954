"""Metrics by name: of a whole split's outputs and targets, or of batch after batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from torch import Tensor

from hpo.errors import TaskError, did_you_mean
from hpo.train.data.arrays import Kind
from hpo.train.objective import metric_formulas as formulas
from hpo.train.objective import torch_metrics
from hpo.train.objective.metric_states import Additive, KeptState, MetricState


def default_metrics(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Returns accuracy for classes, ``mse``, ``mae`` and ``r2`` for numbers.

    Args:
        outputs: Logits of shape [N, ..., C] for classes, else of the targets' shape.
        targets: Classes as whole numbers of shape [N, ...], or numbers of shape [N] or [N, T].
    """
    kind: Kind = "regression" if targets.is_floating_point() else "classification"
    return measure(DEFAULT_METRICS[kind], outputs, targets)


def measure(names: Iterable[str], outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Returns some of ``METRICS`` by their names; shapes as ``default_metrics``.

    Raises:
        TaskError: The shapes do not go together.
    """
    return {name: METRICS[name].function(outputs, targets) for name in names}


@dataclass(frozen=True)
class Metric:
    """A metric by its function.

    Attributes:
        function: Takes outputs and targets of a whole split.
        kind: What the targets must be.
        state: Makes a state for batch after batch, without samples.
        sums: What its states add up, so that lanes may do it together; None where they do not.
        needs_units: Whether it has a meaning only in the targets' own units.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    kind: Kind
    state: Callable[[], MetricState]
    sums: Additive | None = None
    needs_units: bool = False


def _additive(function: Callable[[Tensor, Tensor], Tensor], kind: Kind, sums: Additive) -> Metric:
    return Metric(function, kind, sums.state, sums)


STANDARD: Final[Mapping[str, Metric]] = {
    "accuracy": _additive(formulas.accuracy, "classification", formulas.ACCURACY),
    "balanced_accuracy": _additive(
        formulas.balanced_accuracy, "classification", formulas.BALANCED_ACCURACY
    ),
    "f1": _additive(formulas.f1, "classification", formulas.F1),
    "auroc": Metric(formulas.auroc, "classification", partial(KeptState, formulas.auroc)),
    "log_loss": _additive(formulas.log_loss, "classification", formulas.LOG_LOSS),
    "mse": _additive(formulas.mean_squared_error, "regression", formulas.MSE),
    "rmse": _additive(formulas.root_mean_squared_error, "regression", formulas.RMSE),
    "mae": _additive(formulas.mean_absolute_error, "regression", formulas.MAE),
    "r2": _additive(formulas.r2, "regression", formulas.R2),
}
"""Metrics that ready-made tasks report."""
METRICS: Final[Mapping[str, Metric]] = {
    **STANDARD,
    **{name: Metric(m, "classification", m.state) for name, m in torch_metrics.CLASSES.items()},
    **{
        name: Metric(m, "regression", m.state, needs_units=m.needs_units)
        for name, m in torch_metrics.NUMBERS.items()
    },
}
"""All metrics that a study may name."""
DEFAULT_METRICS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "classification": ("accuracy",),
    "regression": ("mse", "mae", "r2"),
}
"""What every epoch of a task without metrics of its own reports."""
SYNONYMS: Final[Mapping[str, str]] = {
    "acc": "accuracy",
    "top_5_accuracy": "top5_accuracy",
    "top5": "top5_accuracy",
    "f1_macro": "f1",
    "macro_f1": "f1",
    "f1_score": "f1",
    "auc": "auroc",
    "roc_auc": "auroc",
    "matthews_corrcoef": "mcc",
    "kappa": "cohen_kappa",
    "ap": "average_precision",
    "ece": "calibration_error",
    "nll": "log_loss",
    "cross_entropy": "log_loss",
    "ppl": "perplexity",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae",
    "r2_score": "r2",
    "pearsonr": "pearson",
    "spearmanr": "spearman",
}
"""Other names of metrics, which errors translate."""


def metrics_of(kind: Kind) -> tuple[str, ...]:
    """Returns the names of the standard metrics for data of a kind."""
    return tuple(name for name, metric in STANDARD.items() if metric.kind == kind)


def states_of(names: Iterable[str]) -> dict[str, MetricState]:
    """Returns states of some of ``METRICS`` by their names, without samples.

    All but ``auroc``, ``average_precision``, ``calibration_error`` and ``spearman`` need constant
    memory, however many batches there are.
    """
    return {name: METRICS[name].state() for name in names}


def check_metric(metric: str, available: Collection[str]) -> None:
    """Refuses a study's metric that its task does not produce.

    Raises:
        TaskError: With the names that there are.
    """
    if metric not in available:
        names = ", ".join(available)
        raise TaskError(
            f"the task does not produce {metric}{nearest_metric(metric, available)}",
            hint=f"it produces {names}",
        )


def nearest_metric(metric: str, available: Collection[str]) -> str:
    """Returns ``"; did you mean val_f1?"`` for another name of a metric, or a misspelt one.

    Args:
        metric: As the study names it: ``val_f1_macro``.
        available: Those that an epoch reports anyway, by which the kind of the data is told.
    """
    prefix, _, name = metric.partition("_")
    kinds = {METRICS[n].kind for n in (a.partition("_")[2] for a in available) if n in METRICS}
    fitting = [n for n, m in METRICS.items() if m.kind in kinds or not kinds]
    if prefix in ("val", "test", "train") and SYNONYMS.get(name.lower()) in fitting:
        return f"; did you mean val_{SYNONYMS[name.lower()]}?"
    names = [*available, *(f"val_{n}" for n in fitting)]
    return did_you_mean(metric, [name for name in names if name != metric])
