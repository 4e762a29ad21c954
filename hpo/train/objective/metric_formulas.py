"""Metric formulas: the standard metrics of a whole split, and their sums over batches.

All are plain formulas of tensors, cheap enough for every epoch. torchmetrics has them, too, and is
not used for them: importing it takes 1.5 seconds, ``vmap`` cannot take its F1, balanced accuracy,
AUROC and R2 for many lanes at once, and classes that are absent from the targets lower its means,
unlike those of scikit-learn.

Shapes: N samples, C classes, T columns of targets. Logits of shape [N, ..., C] go with classes of
shape [N, ...].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from hpo.errors import TaskError
from hpo.train.objective import losses
from hpo.train.objective.metric_states import Additive, Sums, precise
from hpo.train.objective.outputs import like_targets

# So many samples a class make it cheaper to sort all of them once for each class.
_CROWDED: Final = 8
_MAX_COMPARED: Final = 2**22


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the share of targets that have the largest of the logits."""
    _require_logits("accuracy", outputs, targets)
    return (outputs.argmax(-1) == targets).float().mean()


def balanced_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the share of right predictions, averaged over the classes in the targets."""
    _require_logits("balanced_accuracy", outputs, targets)
    return _balanced_accuracy_of({"counts": _confusion(outputs, targets)})


def f1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns F1, averaged over the classes that are in the targets or predicted (macro)."""
    _require_logits("f1", outputs, targets)
    return _f1_of({"counts": _confusion(outputs, targets)})


def auroc(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the area under the ROC curve; of more than two classes the mean of one against rest.

    Classes that are not in the targets are left out of the mean.

    Args:
        outputs: Logits of shape [N, ..., C].
        targets: Classes of shape [N, ...].

    Returns:
        NaN when all targets are of one class, or an output is NaN.
        Source: Mann and Whitney 1947: the share of pairs in the right order, ties count half.
    """
    _require_logits("auroc", outputs, targets)
    area = _area(outputs.flatten(0, -2), targets.flatten())
    # What is no number has no rank.
    return area.masked_fill(outputs.isnan().any(), torch.nan)


def _area(outputs: Tensor, targets: Tensor) -> Tensor:
    if not len(targets):
        return outputs.new_tensor(torch.nan)
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
    return _r2(residual, total, len(targets))


def _r2(residual: Tensor, total: Tensor, n: int | Tensor) -> Tensor:
    """Returns R2 from the sums of squares around the outputs and around the mean, of shape [T]."""
    constant = torch.where(residual == 0, 1.0, 0.0)
    values = torch.where(total > 0, 1 - residual / total, constant)
    # Of no samples nothing is known.
    return values.mean() if isinstance(n, Tensor) or n else values.mean() * torch.nan


def _hits(outputs: Tensor, targets: Tensor) -> Sums:
    _require_logits("accuracy", outputs, targets)
    return _total(outputs.argmax(-1) == targets)


def _counts(metric: str) -> Callable[[Tensor, Tensor], Sums]:
    def counts(outputs: Tensor, targets: Tensor) -> Sums:
        _require_logits(metric, outputs, targets)
        return {"counts": precise(_confusion(outputs, targets))}

    return counts


def _balanced_accuracy_of(sums: Sums) -> Tensor:
    n_targets_C = sums["counts"].sum(1)
    return _mean_where(n_targets_C > 0, sums["counts"].diagonal() / n_targets_C)


def _f1_of(sums: Sums) -> Tensor:
    # 2 tp / (2 tp + fp + fn): a class' predictions and targets hold its hits once each.
    total_C = sums["counts"].sum(0) + sums["counts"].sum(1)
    return _mean_where(total_C > 0, 2 * sums["counts"].diagonal() / total_C)


def _log_losses(outputs: Tensor, targets: Tensor) -> Sums:
    _require_logits("log_loss", outputs, targets)
    log_p = precise(outputs).log_softmax(-1)
    return _total(-log_p.gather(-1, targets.unsqueeze(-1)))


def _squares(outputs: Tensor, targets: Tensor) -> Sums:
    return _total((like_targets(outputs, targets) - targets).square())


def _distances(outputs: Tensor, targets: Tensor) -> Sums:
    return _total((like_targets(outputs, targets) - targets).abs())


def _moments(outputs: Tensor, targets: Tensor) -> Sums:
    y = precise(targets)
    residual = (precise(like_targets(outputs, targets)) - y).square().sum(0)
    sums = {"residual": residual, "y": y.sum(0), "y_y": y.square().sum(0)}
    return {**sums, "n": y.new_tensor(len(y))}


def _r2_of(sums: Sums) -> Tensor:
    # Rounding leaves something of constant targets.
    y_y, total = sums["y_y"], sums["y_y"] - sums["y"].square() / sums["n"]
    is_constant = total <= 8 * torch.finfo(total.dtype).eps * y_y
    return _r2(sums["residual"], total.masked_fill(is_constant, 0), sums["n"])


def _total(values: Tensor) -> Sums:
    found = precise(values)
    return {"sum": found.sum(), "n": found.new_tensor(found.numel())}


def _mean_of(sums: Sums) -> Tensor:
    return sums["sum"] / sums["n"]


def _root_of(sums: Sums) -> Tensor:
    return _mean_of(sums).sqrt()


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


ACCURACY: Final = Additive(_hits, _mean_of)
BALANCED_ACCURACY: Final = Additive(_counts("balanced_accuracy"), _balanced_accuracy_of)
F1: Final = Additive(_counts("f1"), _f1_of)
LOG_LOSS: Final = Additive(_log_losses, _mean_of)
MSE: Final = Additive(_squares, _mean_of)
RMSE: Final = Additive(_squares, _root_of)
MAE: Final = Additive(_distances, _mean_of)
R2: Final = Additive(_moments, _r2_of)
