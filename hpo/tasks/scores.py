"""Metrics of the ready-made tasks beyond the defaults, in PyTorch: cheap enough for every epoch."""

from __future__ import annotations

import torch
from torch import Tensor


def balanced_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the share of right predictions, averaged over the classes in the targets.

    Args:
        outputs: Logits of shape [N, C].
        targets: Classes of shape [N].
    """
    n_classes = outputs.shape[-1]
    hits = torch.bincount(targets[outputs.argmax(-1) == targets], minlength=n_classes)
    total = torch.bincount(targets, minlength=n_classes)
    return (hits / total)[total > 0].mean()


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
    if outputs.shape[-1] == 2:
        # The difference of the logits orders as the probability does, and does not saturate at 1.
        scores_CN, positive_CN = (outputs[:, 1] - outputs[:, 0])[None], (targets == 1)[None]
    else:
        scores_CN = outputs.softmax(-1).T.contiguous()
        positive_CN = targets == torch.arange(outputs.shape[-1], device=targets.device)[:, None]
    ordered_CN = scores_CN.sort().values
    below_CN = torch.searchsorted(ordered_CN, scores_CN)
    upto_CN = torch.searchsorted(ordered_CN, scores_CN, right=True)
    ranks_CN = (below_CN + upto_CN + 1).double() / 2
    n_positive_C = positive_CN.sum(1)
    n_negative_C = positive_CN.shape[1] - n_positive_C
    above_C = (ranks_CN * positive_CN).sum(1) - n_positive_C * (n_positive_C + 1) / 2
    areas_C = above_C / (n_positive_C * n_negative_C)
    return areas_C[(n_positive_C > 0) & (n_negative_C > 0)].mean()
