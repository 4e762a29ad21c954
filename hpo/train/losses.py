"""Losses: functions of outputs and targets that return a mean over samples."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hpo.errors import TaskError


def default_loss(outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
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


def cross_entropy(outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Returns the mean cross-entropy, in nats.

    Args:
        outputs: Logits of shape [B, ..., C].
        targets: Classes of shape [B, ...].
        label_smoothing: Share of each target that is spread evenly over all classes.
            Source: Szegedy et al. 2016, Rethinking the Inception Architecture, section 7.

    Raises:
        TaskError: The shapes do not go together.
    """
    if outputs.shape[:-1] != targets.shape:
        raise TaskError(
            "the model must return one output a class: for targets of shape "
            f"{_shape(targets)} they are of shape {_shape(targets, 'C')}; "
            f"found {_shape(outputs)}"
        )
    if targets.dim() > 1:
        outputs, targets = outputs.flatten(0, -2), targets.flatten()
    return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean squared error.

    Args:
        outputs: Of the targets' shape.
        targets: Of shape [B] or [B, T].

    Raises:
        TaskError: The shapes do not go together.
    """
    return functional.mse_loss(like_targets(outputs, targets), targets)


def like_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns outputs in the shape of the targets: [B, 1] and [B] mean the same.

    Without this, [B, 1] and [B] would broadcast to [B, B] and silently train on nonsense.

    Raises:
        TaskError: The shapes differ in more than that.
    """
    if outputs.shape == targets.shape:
        return outputs
    if (*outputs.shape, 1) == targets.shape or outputs.shape == (*targets.shape, 1):
        return outputs.reshape(targets.shape)
    raise TaskError(
        f"the model must return outputs of the targets' shape {_shape(targets)}; "
        f"found {_shape(outputs)}"
    )


def _shape(tensor: Tensor, *more: str) -> str:
    return f"[{', '.join([*map(str, tensor.shape), *more])}]"
