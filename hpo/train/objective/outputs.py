"""Outputs: how those of a model go with the targets, by their shapes alone."""

from __future__ import annotations

import torch
from torch import Tensor

from hpo.errors import TaskError


def two_logits(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns one logit a class, also where the model returns that of the second class alone.

    Args:
        outputs: Logits of shape [B, ..., C], [B, ...] or [B, ..., 1].
        targets: Classes of shape [B, ...].

    Returns:
        Shape [B, ..., C].
    """
    if outputs.shape == targets.shape:
        outputs = outputs.unsqueeze(-1)
    if outputs.shape != (*targets.shape, 1):
        return outputs
    return torch.cat([torch.zeros_like(outputs), outputs], -1)


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


def require_logits(outputs: Tensor, targets: Tensor) -> None:
    """Refuses outputs that are not one a class.

    Raises:
        TaskError: The shapes do not go together.
    """
    if outputs.shape[:-1] != targets.shape:
        raise TaskError(
            "the model must return one output a class: for targets of shape "
            f"{_shape(targets)} they are of shape {_shape(targets, 'C')}; "
            f"found {_shape(outputs)}"
        )


def _shape(tensor: Tensor, *more: str) -> str:
    return f"[{', '.join([*map(str, tensor.shape), *more])}]"
