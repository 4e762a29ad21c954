"""Stacked losses: the loss of every lane, and its gradient with respect to the models' outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.func import vmap
from typing_extensions import override

from hpo.spec.space.params import Params
from hpo.train.criteria import Criterion
from hpo.train.objective.losses import LOSSES
from hpo.train.recipe.augmentation import partners


class LaneLoss(Protocol):
    """A loss of K lanes at once; outputs are [K, B, ...], targets [K, B, ...]."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the losses [K], for autograd to continue from."""

    def with_gradient(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the losses [K], and the gradient of their sum in the outputs' shape."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Returns the lanes' own numbers that it reads, always in the same order."""


class MappedLoss(LaneLoss):
    """Any loss, lane by lane in the kernels of one.

    Args:
        each: The loss of one lane: of outputs [B, ...] and targets [B, ...], a scalar.
        numbers: What it takes besides, by name: a value for each lane, of shape [K, ...].
    """

    def __init__(
        self, each: Callable[..., Tensor], numbers: Mapping[str, Tensor] | None = None
    ) -> None:
        self._numbers = dict(numbers or {})
        self._each = vmap(lambda outputs, targets, own: each(outputs, targets, **own))

    @override
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses: Tensor = self._each(outputs, targets, self._numbers)
        return losses

    @override
    def with_gradient(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        leaf = outputs.detach().requires_grad_()
        with torch.enable_grad():
            losses = self(leaf, targets)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach(), gradient

    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(self._numbers.values())


class MixedLoss(LaneLoss):
    """The loss of mixup: that of a sample, and that of what it was mixed with, by their shares.

    Args:
        loss: Of samples as they are.
        shares: Of each lane's samples in their mixtures, of shape [K].
    """

    def __init__(self, loss: LaneLoss, shares: Tensor) -> None:
        self._loss, self._shares = loss, shares

    @override
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        own, other = self._loss(outputs, targets), self._loss(outputs, partners(targets))
        return self._shares * own + (1 - self._shares) * other

    @override
    def with_gradient(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        own, own_gradient = self._loss.with_gradient(outputs, targets)
        other, other_gradient = self._loss.with_gradient(outputs, partners(targets))
        column = self._shares.view(-1, *[1] * (outputs.dim() - 1))
        gradient = column * own_gradient + (1 - column) * other_gradient
        return self._shares * own + (1 - self._shares) * other, gradient

    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self._loss.tensors(), self._shares)


class CrossEntropy(LaneLoss):
    """The default loss of classes, ``hpo.train.objective.losses.cross_entropy``, by its formula.

    Args:
        smoothing: Share of a target that is spread over all classes, by lane, of shape [K, 1];
            None where it is 0 for all.
    """

    def __init__(self, smoothing: Tensor | None) -> None:
        self._smoothing = smoothing

    @override
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        log_p, flat = _log_p(outputs, targets)
        return self._losses(log_p, flat)

    @override
    def with_gradient(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        log_p, flat = _log_p(outputs.detach(), targets)
        losses = self._losses(log_p, flat)
        # d loss / d logit = p - target, where the target is 1 - s at its class, plus s / C.
        gradient, at_class = log_p.exp_(), torch.full_like(flat, -1, dtype=log_p.dtype)
        if self._smoothing is not None:
            gradient.sub_(self._smoothing.unsqueeze(-1) / log_p.shape[1])
            at_class.add_(self._smoothing)
        gradient.scatter_add_(1, flat.unsqueeze(1), at_class.unsqueeze(1)).div_(flat.shape[1])
        return losses, gradient.transpose(1, 2).reshape(outputs.shape)

    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return () if self._smoothing is None else (self._smoothing,)

    def _losses(self, log_p: Tensor, flat: Tensor) -> Tensor:
        losses = -log_p.gather(1, flat.unsqueeze(1)).squeeze(1).mean(1)
        if self._smoothing is None:
            return losses
        share = self._smoothing.squeeze(1)
        return losses * (1 - share) - log_p.mean(dim=(1, 2)) * share


def minimised(
    criterion: Criterion,
    params: Sequence[Params],
    weights: Sequence[Tensor | None],
    device: torch.device,
) -> LaneLoss:
    """Returns what lanes minimise.

    Args:
        criterion: Of their task.
        params: Of each lane, with defaults filled in; their loss is the same.
        weights: Of the classes, [C], for each lane; None for none.
        device: Where the lanes are.
    """
    if criterion.has_own_loss:
        return MappedLoss(criterion.task.loss)
    loss = LOSSES[params[0]["loss"]]
    values = {name: [float(p[name]) for p in params] for name in loss.reads}
    numbers = {name: torch.tensor(each, device=device) for name, each in values.items()}
    given = [one for one in weights if one is not None]
    if given:
        even = torch.ones_like(given[0])
        each = [even if one is None else one for one in weights]
        return MappedLoss(loss.function, {**numbers, "class_weights": torch.stack(each)})
    if loss is not LOSSES["cross_entropy"]:
        return MappedLoss(loss.function, numbers)
    smooths = any(values["label_smoothing"])
    return CrossEntropy(numbers["label_smoothing"].unsqueeze(1) if smooths else None)


def reported(criterion: Criterion, params: Sequence[Params], device: torch.device) -> LaneLoss:
    """Returns the loss that lanes report: without smoothing and class weights."""
    plain = [Params({**one.asdict(), "label_smoothing": 0.0}) for one in params]
    return minimised(criterion, plain, [None] * len(plain), device)


def _log_p(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities [K, C, B'] and targets [K, B'], whatever B' is made of.

    Classes come before samples because PyTorch reduces ten neighbours ten times as slowly as ten
    rows.
    """
    flat = targets.reshape(len(targets), -1)
    logits = outputs.reshape(*flat.shape, outputs.shape[-1])
    return logits.transpose(1, 2).contiguous().log_softmax(1), flat
