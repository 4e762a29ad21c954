"""Update rules of torch.optim for many models at once, each with its own hyperparameters.

Weights, gradients and an optimizer's state are rows of [K, P]; hyperparameters are columns of
[K, 1]. Names of states are torch.optim's, so that checkpoints fit both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from hpo.train.recipe.optimizers import OPTIMIZERS

# What PyTorch's clip_grad_norm_ adds to the norm.
_CLIP_EPS: Final = 1e-6
_PENALTIES: Final = ("l1", "grad_clip")
_COMMON: Final = ("learning_rate", "weight_decay")


class HyperparameterColumns:
    """Hyperparameters of K lanes as tensors of shape [K, 1].

    Args:
        params: Of each lane, with defaults filled in.
        names: Which to take; numbers and booleans.
        device: Where they are needed.
    """

    def __init__(
        self, params: Sequence[Mapping[str, Any]], names: Sequence[str], device: torch.device
    ) -> None:
        self._device = device
        self._values = {name: [float(p[name]) for p in params] for name in names}
        # Double, for 1 - beta2 has four digits fewer than beta2.
        self._tensors = {name: self._column(values) for name, values in self._values.items()}
        self._single = {name: t.float() for name, t in self._tensors.items()}

    def __getitem__(self, name: str) -> Tensor:
        """Returns a column in single precision."""
        return self._single[name]

    def double(self, name: str) -> Tensor:
        """Returns a column in double precision."""
        return self._tensors[name]

    def any(self, name: str) -> bool:
        """Returns whether a value is other than 0; known without asking the device."""
        return any(self._values[name])

    def tensors(self) -> list[Tensor]:
        """Returns all columns in both precisions, always in the same order."""
        return [*self._tensors.values(), *self._single.values()]

    def decisions(self) -> tuple[bool, ...]:
        """Returns what ``any`` says of each column."""
        return tuple(map(self.any, self._values))

    def set(self, name: str, values: Sequence[float]) -> None:
        """Overwrites a column in place: the tensors stay the same."""
        self._values[name] = list(values)
        self._tensors[name].copy_(self._column(values))
        self._single[name].copy_(self._tensors[name])

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self._device).unsqueeze(1)


State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Rule:
    """An optimizer.

    Attributes:
        update: Takes weights and gradients [K, P], the state, and the columns; changes all in
            place, the gradients too.
        state: Names of the tensors [K, P] that it keeps.
    """

    update: Callable[[Tensor, Tensor, State, HyperparameterColumns], None]
    state: tuple[str, ...]


def names_of(optimizer: str) -> tuple[str, ...]:
    """Returns the hyperparameters that a stack with this optimizer needs as columns."""
    return (*_COMMON, *OPTIMIZERS[optimizer].reads, *_PENALTIES)


def add_penalties(weights: Tensor, grads: Tensor, columns: HyperparameterColumns) -> None:
    """Adds L1's gradient and clips each lane's norm, as the solo engine does.

    Args:
        weights: Of shape [K, P].
        grads: Of shape [K, P]; changed in place.
        columns: With ``l1`` and ``grad_clip``.
    """
    if columns.any("l1"):
        grads.addcmul_(weights.sign(), columns["l1"])
    if columns.any("grad_clip"):
        limit = columns["grad_clip"]
        scale = limit / (grads.norm(dim=1, keepdim=True) + _CLIP_EPS)
        # Not clamp: a norm that is not a number must stay one.
        grads.mul_(torch.where((limit == 0) | (scale > 1), 1.0, scale))


def _sgd(weights: Tensor, grads: Tensor, state: State, columns: HyperparameterColumns) -> None:
    _sgd_with(weights, grads, state, columns, "nesterov")


def _momentum(weights: Tensor, grads: Tensor, state: State, columns: HyperparameterColumns) -> None:
    _sgd_with(weights, grads, state, columns, None)


def _nesterov(weights: Tensor, grads: Tensor, state: State, columns: HyperparameterColumns) -> None:
    _decay(weights, grads, columns)
    buffer = _heavy_ball(state, grads, columns)
    grads.addcmul_(buffer, columns["momentum"])
    weights.addcmul_(grads, columns["learning_rate"], value=-1)


def _sgd_with(
    weights: Tensor, grads: Tensor, state: State, columns: HyperparameterColumns, ahead: str | None
) -> None:
    _decay(weights, grads, columns)
    step = grads
    if columns.any("momentum"):
        step = _heavy_ball(state, grads, columns)
        if ahead is not None and columns.any(ahead):
            look, momentum = columns[ahead], columns["momentum"]
            step = grads.mul_(look).addcmul_(step, look * momentum + (1 - look))
    weights.addcmul_(step, columns["learning_rate"], value=-1)


def _adagrad(weights: Tensor, grads: Tensor, state: State, columns: HyperparameterColumns) -> None:
    _decay(weights, grads, columns)
    total = state["sum"].addcmul_(grads, grads)
    grads.div_(total.sqrt().add_(columns["eps"]))
    weights.addcmul_(grads, columns["learning_rate"], value=-1)


def _rmsprop(weights: Tensor, grads: Tensor, state: State, columns: HyperparameterColumns) -> None:
    _decay(weights, grads, columns)
    rest = (1 - columns.double("alpha")).float()
    mean = state["square_avg"].mul_(columns["alpha"]).addcmul_(grads * rest, grads)
    step = grads.div_(mean.sqrt().add_(columns["eps"]))
    if columns.any("momentum"):
        step = _heavy_ball(state, step, columns)
    weights.addcmul_(step, columns["learning_rate"], value=-1)


def _adam(weights: Tensor, grads: Tensor, state: State, columns: HyperparameterColumns) -> None:
    _decay(weights, grads, columns)
    _adam_step(weights, grads, state, columns)


def _adamw(weights: Tensor, grads: Tensor, state: State, columns: HyperparameterColumns) -> None:
    if columns.any("weight_decay"):
        shrink = 1 - columns.double("learning_rate") * columns.double("weight_decay")
        weights.mul_(shrink.float())
    _adam_step(weights, grads, state, columns)


def _adam_step(
    weights: Tensor, grads: Tensor, state: State, columns: HyperparameterColumns
) -> None:
    step = state["step"].double().unsqueeze(1)
    beta1, beta2 = columns.double("beta1"), columns.double("beta2")
    first = state["exp_avg"].lerp_(grads, (1 - beta1).float())
    second = state["exp_avg_sq"].mul_(columns["beta2"])
    second.addcmul_(grads * (1 - beta2).float(), grads)
    size = columns.double("learning_rate") / (1 - beta1**step)
    root = (1 - beta2**step).sqrt()
    divisor = torch.sqrt(second, out=grads).div_(root.float()).add_(columns["eps"])
    # In the gradients' place, so that the gaps between parameters hold zeros there again.
    weights.addcmul_(torch.div(first, divisor, out=divisor), size.float(), value=-1)


def _heavy_ball(state: State, step: Tensor, columns: HyperparameterColumns) -> Tensor:
    """Adds a step to the lanes' momentum, in one pass over their memory, and returns that."""
    buffer = state["momentum_buffer"]
    return torch.addcmul(step, buffer, columns["momentum"], out=buffer)


def _decay(weights: Tensor, grads: Tensor, columns: HyperparameterColumns) -> None:
    if columns.any("weight_decay"):
        grads.addcmul_(weights, columns["weight_decay"])


RULES: Final[Mapping[str, Rule]] = {
    "sgd": Rule(_sgd, ("momentum_buffer",)),
    "momentum": Rule(_momentum, ("momentum_buffer",)),
    "nesterov": Rule(_nesterov, ("momentum_buffer",)),
    "adagrad": Rule(_adagrad, ("sum",)),
    "rmsprop": Rule(_rmsprop, ("square_avg", "momentum_buffer")),
    "adam": Rule(_adam, ("exp_avg", "exp_avg_sq")),
    "adamw": Rule(_adamw, ("exp_avg", "exp_avg_sq")),
}
