"""Metrics by name: functions of a whole split's outputs and targets.

All are plain formulas of tensors, cheap enough for every epoch. Shapes: N samples, C classes, T
columns of targets. Logits of shape [N, ..., C] go with classes of shape [N, ...].
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hpo.errors import TaskError, did_you_mean
from hpo.train.data.arrays import Kind
from hpo.train.objective import losses
from hpo.train.objective.outputs import like_targets

# So many samples a class make it cheaper to sort all of them once for each class.
_CROWDED: Final = 8
_MAX_COMPARED: Final = 2**22


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


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the share of targets that have the largest of the logits."""
    _require_logits("accuracy", outputs, targets)
    return (outputs.argmax(-1) == targets).float().mean()


def balanced_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the share of right predictions, averaged over the classes in the targets."""
    _require_logits("balanced_accuracy", outputs, targets)
    counts_CC = _confusion(outputs, targets)
    n_targets_C = counts_CC.sum(1)
    return _mean_where(n_targets_C > 0, counts_CC.diagonal() / n_targets_C)


def f1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns F1, averaged over the classes that are in the targets or predicted (macro)."""
    _require_logits("f1", outputs, targets)
    counts_CC = _confusion(outputs, targets)
    # 2 tp / (2 tp + fp + fn): a class' predictions and targets hold its hits once each.
    total_C = counts_CC.sum(0) + counts_CC.sum(1)
    return _mean_where(total_C > 0, 2 * counts_CC.diagonal() / total_C)


def auroc(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the area under the ROC curve; of more than two classes the mean of one against rest.

    Classes that are not in the targets are left out of the mean.

    Args:
        outputs: Logits of shape [N, C].
        targets: Classes of shape [N].

    Returns:
        NaN when all targets are of one class.
        Source: Mann and Whitney 1947: the share of pairs in the right order, ties count half.
    """
    _require_logits("auroc", outputs, targets)
    if outputs.shape[-1] == 2:
        # The difference of the logits orders as the probability does, and does not saturate at 1.
        scores_CN, positive_CN = (outputs[:, 1] - outputs[:, 0])[None], (targets == 1)[None]
    elif len(targets) <= _CROWDED * outputs.shape[-1]:
        return _auroc_of_many(outputs.softmax(-1), targets)
    else:
        scores_CN = outputs.softmax(-1).T.contiguous()
        positive_CN = targets == torch.arange(outputs.shape[-1], device=targets.device)[:, None]
    ordered_CN = scores_CN.sort().values
    below_CN = torch.searchsorted(ordered_CN, scores_CN)
    upto_CN = torch.searchsorted(ordered_CN, scores_CN, right=True)
    # Twice the ranks, which are whole numbers: sums of them lose no digits.
    twice_ranks_CN = below_CN + upto_CN + 1
    n_positive_C = positive_CN.sum(1)
    n_negative_C = positive_CN.shape[1] - n_positive_C
    twice_above_C = (twice_ranks_CN * positive_CN).sum(1) - n_positive_C * (n_positive_C + 1)
    n_pairs_C = n_positive_C * n_negative_C
    return _mean_where(n_pairs_C > 0, twice_above_C / (2 * n_pairs_C))


def _auroc_of_many(scores: Tensor, targets: Tensor) -> Tensor:
    """Returns what ``auroc`` does, where most classes have few of the samples or none.

    Only a class' own samples need a rank among all: N comparisons for each of them, where sorting
    every class takes N log N for each class.

    Args:
        scores: Probabilities of shape [N, C].
        targets: Classes of shape [N].
    """
    n, n_classes = scores.shape
    own_N = scores.gather(1, targets[:, None])[:, 0]
    twice_ranks = []
    size = max(1, _MAX_COMPARED // n)
    for classes_B, own_B in zip(torch.split(targets, size), torch.split(own_N, size), strict=True):
        scores_NB = scores[:, classes_B]
        twice_ranks.append((scores_NB < own_B).sum(0) + (scores_NB <= own_B).sum(0) + 1)
    none_C = torch.zeros(n_classes, dtype=torch.long, device=targets.device)
    n_positive_C = none_C.index_add(0, targets, torch.ones_like(targets))
    sum_C = none_C.index_add(0, targets, torch.cat(twice_ranks))
    n_pairs_C = n_positive_C * (n - n_positive_C)
    twice_above_C = sum_C - n_positive_C * (n_positive_C + 1)
    return _mean_where(n_pairs_C > 0, twice_above_C / (2 * n_pairs_C))


def log_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean of minus the logarithm of the target's probability, in nats."""
    _require_logits("log_loss", outputs, targets)
    return losses.cross_entropy(outputs, targets)


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean squared error over samples and targets."""
    return losses.mse(outputs, targets)


def root_mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the root of the mean squared error, in the targets' units."""
    return losses.mse(outputs, targets).sqrt()


def mean_absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean absolute error over samples and targets."""
    return losses.mae(outputs, targets)


def r2(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the coefficient of determination, averaged over the columns of targets [N, T].

    A constant column counts 1 when it is met exactly, else 0, as in scikit-learn.
    """
    residual = (like_targets(outputs, targets) - targets).square().sum(0)
    total = (targets - targets.mean(0)).square().sum(0)
    constant = torch.where(residual == 0, 1.0, 0.0)
    return torch.where(total > 0, 1 - residual / total, constant).mean()


@dataclass(frozen=True)
class Metric:
    """A metric by its function.

    Attributes:
        function: Takes outputs and targets of a whole split.
        kind: What the targets must be.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    kind: Kind


METRICS: Final[Mapping[str, Metric]] = {
    "accuracy": Metric(accuracy, "classification"),
    "balanced_accuracy": Metric(balanced_accuracy, "classification"),
    "f1": Metric(f1, "classification"),
    "auroc": Metric(auroc, "classification"),
    "log_loss": Metric(log_loss, "classification"),
    "mse": Metric(mean_squared_error, "regression"),
    "rmse": Metric(root_mean_squared_error, "regression"),
    "mae": Metric(mean_absolute_error, "regression"),
    "r2": Metric(r2, "regression"),
}
DEFAULT_METRICS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "classification": ("accuracy",),
    "regression": ("mse", "mae", "r2"),
}
"""What every epoch of a task without metrics of its own reports."""


def metrics_of(kind: Kind) -> tuple[str, ...]:
    """Returns the names of all metrics for data of a kind."""
    return tuple(name for name, metric in METRICS.items() if metric.kind == kind)


def check_metric(metric: str, available: Collection[str]) -> None:
    """Refuses a study's metric that its task does not produce.

    Raises:
        TaskError: With the names that there are.
    """
    if metric not in available:
        names = ", ".join(available)
        raise TaskError(
            f"the task does not produce {metric}{did_you_mean(metric, available)}",
            hint=f"it produces {names}",
        )


def _require_logits(metric: str, outputs: Tensor, targets: Tensor) -> None:
    """Refuses outputs of which the largest says nothing: a single one a sample.

    Raises:
        TaskError: The shapes do not go together.
    """
    if outputs.shape[:-1] == targets.shape and outputs.shape[-1] > 1:
        return
    raise TaskError(
        f"{metric} needs one output a class; found outputs of shape {list(outputs.shape)} for "
        f"targets of shape {list(targets.shape)}",
        hint="define metrics() for what your model returns, or return one output a class",
    )


def _confusion(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns how often each class (rows) was taken for each (columns), of shape [C, C]."""
    n_classes = outputs.shape[-1]
    places = (targets * n_classes + outputs.argmax(-1)).flatten()
    # Not bincount, whose result has no shape that an engine could batch. Whole numbers stay exact
    # in single precision up to 2**24.
    ones = torch.ones_like(places, dtype=torch.float32)
    counts = torch.zeros(n_classes**2, device=outputs.device).scatter_add(0, places, ones)
    return counts.view(n_classes, n_classes)


def _mean_where(holds: Tensor, values: Tensor) -> Tensor:
    """Returns the mean of the values for which something holds; NaN if there are none."""
    return torch.where(holds, values, 0.0).sum() / holds.sum()
