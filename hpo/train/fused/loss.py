"""The loss of every lane of a stack, and its gradient with respect to the models' outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.func import vmap


class LaneLoss(Protocol):
    """A loss of K lanes at once; outputs are [K, B, ...], targets [K, B, ...]."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the losses [K], for autograd to go on from."""

    def with_gradient(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the losses [K], and the gradient of their sum in the outputs' shape."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Returns the lanes' own numbers that it reads, always in the same order."""


class MappedLoss:
    """Any loss, lane by lane in the kernels of one.

    Args:
        each: The loss of one lane: of outputs [B, ...] and targets [B, ...], a scalar.
    """

    def __init__(self, each: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._each = vmap(each)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See ``LaneLoss``."""
        losses: Tensor = self._each(outputs, targets)
        return losses

    def with_gradient(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See ``LaneLoss``."""
        leaf = outputs.detach().requires_grad_()
        with torch.enable_grad():
            losses = self(leaf, targets)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach(), gradient

    def tensors(self) -> tuple[Tensor, ...]:
        """See ``LaneLoss``."""
        return ()


class CrossEntropy:
    """The default loss of classes, ``hpo.train.losses.cross_entropy``, by its formula.

    Args:
        smoothing: Share of a target that is spread over all classes, by lane, of shape [K, 1];
            None where it is 0 for all.
    """

    def __init__(self, smoothing: Tensor | None) -> None:
        self._smoothing = smoothing

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See ``LaneLoss``."""
        log_p, flat = _log_p(outputs, targets)
        return self._losses(log_p, flat)

    def with_gradient(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See ``LaneLoss``."""
        log_p, flat = _log_p(outputs.detach(), targets)
        losses = self._losses(log_p, flat)
        # d loss / d logit = p - target, where the target is 1 - s at its class, plus s / C.
        gradient, at_class = log_p.exp_(), torch.full_like(flat, -1, dtype=log_p.dtype)
        if self._smoothing is not None:
            gradient.sub_(self._smoothing.unsqueeze(-1) / log_p.shape[1])
            at_class.add_(self._smoothing)
        gradient.scatter_add_(1, flat.unsqueeze(1), at_class.unsqueeze(1)).div_(flat.shape[1])
        return losses, gradient.transpose(1, 2).reshape(outputs.shape)

    def tensors(self) -> tuple[Tensor, ...]:
        """See ``LaneLoss``."""
        return () if self._smoothing is None else (self._smoothing,)

    def _losses(self, log_p: Tensor, flat: Tensor) -> Tensor:
        losses = -log_p.gather(1, flat.unsqueeze(1)).squeeze(1).mean(1)
        if self._smoothing is None:
            return losses
        share = self._smoothing.squeeze(1)
        return losses * (1 - share) - log_p.mean(dim=(1, 2)) * share


def _log_p(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities [K, C, B'] and targets [K, B'], whatever B' is made of.

    Classes come before samples because PyTorch reduces ten neighbours ten times as slowly as ten
    rows.
    """
    flat = targets.reshape(len(targets), -1)
    logits = outputs.reshape(*flat.shape, outputs.shape[-1])
    return logits.transpose(1, 2).contiguous().log_softmax(1), flat
