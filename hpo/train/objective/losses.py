"""Losses by name: functions of outputs and targets that return a mean over samples.

All are plain formulas of tensors, so that an engine may batch them over models, and the numbers
that they take besides, such as ``label_smoothing``, may be tensors too: each lane's own.

Outputs for classes are logits, one a class, [B, ..., C]. Of two classes they may also be that of
the second class alone, in the shape of the targets, [B, ...], or [B, ..., 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from hpo.errors import TaskError, did_you_mean
from hpo.train.data.arrays import Kind
from hpo.train.objective.outputs import like_targets, require_logits, two_logits

Number: TypeAlias = float | Tensor
"""A number, or a tensor without dimensions."""


def default_loss(outputs: Tensor, targets: Tensor, label_smoothing: Number = 0.0) -> Tensor:
    """Returns the loss that suits the targets.

    Args:
        outputs: Logits of shape [B, ..., C] for classes, else of the targets' shape.
        targets: Classes as whole numbers of shape [B, ...], or numbers.
        label_smoothing: Of classes only, see ``cross_entropy``.

    Raises:
        TaskError: The shapes do not go together.
    """
    if targets.is_floating_point():
        return mse(outputs, targets)
    return cross_entropy(outputs, targets, label_smoothing)


def cross_entropy(
    outputs: Tensor,
    targets: Tensor,
    label_smoothing: Number = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Returns the mean cross-entropy, in nats.

    Args:
        outputs: Logits of shape [B, ..., C].
        targets: Classes of shape [B, ...].
        label_smoothing: Share of each target that is spread evenly over all classes.
            Source: Szegedy et al. 2016, Rethinking the Inception Architecture, section 7.
        class_weights: Of shape [C]; the mean is weighted by that of the target, and the smoothed
            share by that of each class, as in PyTorch.

    Raises:
        TaskError: The shapes do not go together.
    """
    require_logits(outputs, targets)
    if class_weights is None and isinstance(label_smoothing, float | int) and not label_smoothing:
        # PyTorch's own has fewer steps, but does not take a tensor for the smoothing.
        return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())
    logs = functional.log_softmax(outputs, -1)
    if class_weights is not None:
        logs = logs * class_weights
    of_target, of_all = -_pick(logs, targets), -logs.mean(-1)
    losses = of_target + label_smoothing * (of_all - of_target)
    # Not the weighted mean of the losses: they hold the weights already.
    return losses.mean() if class_weights is None else losses.sum() / class_weights[targets].sum()


def bce(outputs: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Returns the mean binary cross-entropy of logits, in nats.

    Of two classes with a logit each, their difference is the logit of the second one, so that it is
    their cross-entropy. Of more classes each is told from all others, and the mean is over classes
    too.

    Args:
        outputs: Logits of shape [B, ...], [B, ..., 1] or [B, ..., C].
        targets: Classes of shape [B, ...]; or shares from 0 to 1 of the outputs' shape, such as
            several labels a sample.
        class_weights: Of shape [C]; the mean over samples is weighted by that of the target.

    Raises:
        TaskError: The shapes do not go together.
    """
    if targets.is_floating_point():
        logits = like_targets(outputs, targets)
        return functional.binary_cross_entropy_with_logits(logits, targets)
    logits = two_logits(outputs, targets)
    require_logits(logits, targets)
    if logits.shape[-1] == 2:
        return cross_entropy(logits, targets, class_weights=class_weights)
    own = _is_target(logits, targets).to(logits.dtype)
    losses = functional.binary_cross_entropy_with_logits(logits, own, reduction="none").mean(-1)
    return _mean(losses, targets, class_weights)


def hinge(outputs: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Returns the mean hinge loss: by how much the target is not 1 above all other classes.

    Source: Crammer and Singer 2001, On the algorithmic implementation of multiclass kernel-based
    vector machines, equation 2; of two classes the usual hinge loss.

    Args:
        outputs: Scores of shape [B, ...], [B, ..., 1] or [B, ..., C].
        targets: Classes of shape [B, ...].
        class_weights: Of shape [C]; the mean is weighted by that of the target.

    Raises:
        TaskError: The shapes do not go together.
    """
    scores = two_logits(outputs, targets)
    require_logits(scores, targets)
    others = scores.masked_fill(_is_target(scores, targets), -torch.inf).amax(-1)
    return _mean((1 + others - _pick(scores, targets)).relu(), targets, class_weights)


def focal(
    outputs: Tensor,
    targets: Tensor,
    focal_gamma: Number = 2.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Returns the mean focal loss: cross-entropy that counts less where the target is likely.

    Source: Lin et al. 2017, Focal loss for dense object detection, equation 4.

    Args:
        outputs: Logits of shape [B, ...], [B, ..., 1] or [B, ..., C].
        targets: Classes of shape [B, ...].
        focal_gamma: The paper's gamma, not negative; cross-entropy with 0.
        class_weights: Of shape [C], the paper's alpha; the mean is weighted by that of the target.

    Raises:
        TaskError: The shapes do not go together.
    """
    logits = two_logits(outputs, targets)
    require_logits(logits, targets)
    log_all = logits.logsumexp(-1)
    log_p = _pick(logits, targets) - log_all
    # log(1 - p) by the other classes: 1 - p itself would lose all digits where p is near 1.
    log_rest = logits.masked_fill(_is_target(logits, targets), -torch.inf).logsumexp(-1) - log_all
    return _mean(-(focal_gamma * log_rest).exp() * log_p, targets, class_weights)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean squared error.

    Args:
        outputs: Of the targets' shape.
        targets: Of shape [B] or [B, T].

    Raises:
        TaskError: The shapes do not go together.
    """
    return functional.mse_loss(like_targets(outputs, targets), targets)


def mae(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean absolute error; shapes and errors as ``mse``."""
    return (like_targets(outputs, targets) - targets).abs().mean()


def huber(outputs: Tensor, targets: Tensor, huber_delta: Number = 1.0) -> Tensor:
    """Returns the mean Huber loss; shapes and errors as ``mse``.

    Source: Huber 1964, Robust estimation of a location parameter.

    Args:
        outputs: Of the targets' shape.
        targets: Of shape [B] or [B, T].
        huber_delta: Error from which on it grows linearly, above 0.
    """
    errors = (like_targets(outputs, targets) - targets).abs()
    beyond = (errors - huber_delta).relu()
    return (errors.square() - beyond.square()).mean() / 2


@dataclass(frozen=True)
class Loss:
    """A loss by its function.

    Attributes:
        function: Takes outputs, targets, and by name what it reads.
        kinds: What the targets may be.
        reads: Names of the params that it takes.
    """

    function: Callable[..., Tensor]
    kinds: tuple[Kind, ...]
    reads: tuple[str, ...] = ()


LOSSES: Final[Mapping[str, Loss]] = {
    "cross_entropy": Loss(cross_entropy, ("classification",), ("label_smoothing",)),
    "bce": Loss(bce, ("classification", "regression")),
    "hinge": Loss(hinge, ("classification",)),
    "focal": Loss(focal, ("classification",), ("focal_gamma",)),
    "mse": Loss(mse, ("regression",)),
    "mae": Loss(mae, ("regression",)),
    "huber": Loss(huber, ("regression",), ("huber_delta",)),
}
CLASS_WEIGHTS: Final = ("none", "balanced")
DEFAULT_LOSSES: Final[Mapping[Kind, str]] = {"classification": "cross_entropy", "regression": "mse"}


def losses_of(kind: Kind) -> tuple[str, ...]:
    """Returns the names of all losses for data of a kind."""
    return tuple(name for name, loss in LOSSES.items() if kind in loss.kinds)


def loss_of(
    params: Mapping[str, Any], kind: Kind, class_weights: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the loss that the params name, with the numbers that they give it.

    Args:
        params: With ``loss``, if not the kind's default, and what it reads; numbers may be
            tensors.
        kind: Of the data.
        class_weights: Of shape [C], for classes; see ``balanced_weights``.

    Raises:
        TaskError: There is no such loss, or not for data of this kind.
    """
    name, fitting = params.get("loss", DEFAULT_LOSSES[kind]), losses_of(kind)
    if name not in fitting:
        hint = did_you_mean(name, fitting) if isinstance(name, str) else ""
        raise TaskError(f"loss of a {kind} must be {', '.join(fitting)}; found {name!r}{hint}")
    loss = LOSSES[name]
    given = {key: params[key] for key in loss.reads if key in params}
    if class_weights is not None and kind == "classification":
        given["class_weights"] = class_weights
    return partial(loss.function, **given) if given else loss.function


def balanced_weights(targets: Tensor, n_classes: int) -> Tensor:
    """Returns weights with which all classes count alike, and samples 1 on average.

    Args:
        targets: Classes of the training samples, of shape [N, ...].
        n_classes: C.

    Returns:
        Shape [C], float32: N / (C * samples of the class); 0 for a class without samples.
        Source: King and Zeng 2001, Logistic regression in rare events data; scikit-learn's
        ``class_weight="balanced"``.
    """
    counts = targets.flatten().bincount(minlength=n_classes)
    n_present = (counts > 0).sum()
    weights = targets.numel() / (n_present * counts)
    return torch.where(counts > 0, weights, 0.0)


def _pick(values: Tensor, targets: Tensor) -> Tensor:
    """Returns of values [B, ..., C] those of the targets, [B, ...]."""
    return values.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def _is_target(logits: Tensor, targets: Tensor) -> Tensor:
    return targets.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)


def _mean(losses: Tensor, targets: Tensor, class_weights: Tensor | None) -> Tensor:
    if class_weights is None:
        return losses.mean()
    weights = class_weights[targets]
    return (losses * weights).sum() / weights.sum()
