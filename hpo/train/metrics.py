"""Metrics: functions of a whole split's outputs and targets, and how they are named."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from hpo.errors import TaskError, did_you_mean
from hpo.train.losses import like_targets


def default_metrics(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Returns accuracy for classes, ``mse``, ``mae`` and ``r2`` for numbers.

    Args:
        outputs: Logits of shape [N, ..., C] for classes, else of the targets' shape.
        targets: Classes as whole numbers of shape [N, ...], or numbers of shape [N] or [N, T].
    """
    if not targets.is_floating_point():
        return {"accuracy": accuracy(outputs, targets)}
    return {
        "mse": mean_squared_error(outputs, targets),
        "mae": mean_absolute_error(outputs, targets),
        "r2": r2(outputs, targets),
    }


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the share of targets that have the largest of the logits [N, ..., C]."""
    _require_logits("accuracy", outputs, targets)
    return (outputs.argmax(-1) == targets).float().mean()


def f1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns F1, averaged over the classes that are in the targets or predicted (macro).

    Args:
        outputs: Logits of shape [N, ..., C].
        targets: Classes of shape [N, ...].
    """
    _require_logits("f1", outputs, targets)
    n_classes = outputs.shape[-1]
    predicted, targets = outputs.argmax(-1).flatten(), targets.flatten()
    hits = torch.bincount(targets[predicted == targets], minlength=n_classes)
    # 2 tp / (2 tp + fp + fn): a class' predictions and targets hold its hits once each.
    total = torch.bincount(predicted, minlength=n_classes)
    total = total + torch.bincount(targets, minlength=n_classes)
    return (2 * hits / total)[total > 0].mean()


def auroc(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the area under the ROC curve; of more than two classes the mean of one against rest.

    Args:
        outputs: Logits of shape [N, C].
        targets: Classes of shape [N].

    Returns:
        NaN when a class, or everything but a class, is missing from the targets.
    """
    _require_logits("auroc", outputs, targets)
    scores = outputs.softmax(-1)
    classes = [1] if outputs.shape[-1] == 2 else list(range(outputs.shape[-1]))
    return torch.stack([_binary_auroc(scores[:, c], targets == c) for c in classes]).mean()


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


def _binary_auroc(scores: Tensor, positive: Tensor) -> Tensor:
    """Counts pairs in the right order by ranks; ties count half (Mann and Whitney 1947)."""
    _, place, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    ends = counts.cumsum(0)
    ranks = (ends - (counts - 1) / 2)[place]
    n_positive = positive.sum()
    n_negative = len(positive) - n_positive
    above: Tensor = (ranks * positive).sum() - n_positive * (n_positive + 1) / 2
    return above / (n_positive * n_negative)


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean squared error over samples and targets."""
    return (like_targets(outputs, targets) - targets).square().mean()


def mean_absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean absolute error over samples and targets."""
    return (like_targets(outputs, targets) - targets).abs().mean()


def r2(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the coefficient of determination, averaged over the columns of targets [N, T].

    A constant column counts 1 when it is met exactly, else 0, as in scikit-learn.
    """
    residual = (like_targets(outputs, targets) - targets).square().sum(0)
    total = (targets - targets.mean(0)).square().sum(0)
    constant = torch.where(residual == 0, 1.0, 0.0)
    return torch.where(total > 0, 1 - residual / total, constant).mean()


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
