"""Optimizers by name, as torch.optim has them, from the params of a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop


@dataclass(frozen=True)
class Recipe:
    """The construction of an optimizer.

    Attributes:
        build: Takes the parameters, the params and the device.
        reads: Names of the params that it needs beside ``learning_rate`` and ``weight_decay``.
    """

    build: Callable[[list[nn.Parameter], Mapping[str, Any], torch.device], Optimizer]
    reads: tuple[str, ...]


def build(parameters: Iterable[nn.Parameter], params: Mapping[str, Any]) -> Optimizer:
    """Makes the optimizer that the params name.

    ``weight_decay`` applies to every parameter, biases too: as an L2 penalty in the gradient, or
    decoupled from it for ``adamw``.

    Args:
        parameters: Those to be trained, at least one, all on one device.
        params: With ``optimizer``, ``learning_rate``, ``weight_decay`` and what it reads.
    """
    trained = list(parameters)
    return OPTIMIZERS[params["optimizer"]].build(trained, params, trained[0].device)


def add_l1(parameters: Iterable[nn.Parameter], l1: float) -> None:
    """Adds the gradient of ``l1`` times the sum of absolute values; 0 at 0."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach().sign(), alpha=l1)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scales all gradients together so that their joint Euclidean norm is at most ``max_norm``.

    Returns:
        The norm before.
        Source: Pascanu et al. 2013, On the difficulty of training recurrent networks, algorithm 1.
    """
    return nn.utils.clip_grad_norm_(parameters, max_norm)


def _common(
    parameters: list[nn.Parameter], params: Mapping[str, Any], device: torch.device, fused_on: str
) -> dict[str, Any]:
    # The fused kernels train a small MLP on a CPU a quarter to a third faster than the loop over
    # tensors, which is PyTorch's choice there, and than foreach.
    # They know real numbers only.
    is_real = not any(parameter.is_complex() for parameter in parameters)
    fused = True if is_real and device.type in fused_on.split() else None
    common = {"lr": params["learning_rate"], "weight_decay": params["weight_decay"]}
    return common | ({"fused": fused} if fused else {})


def _sgd(
    parameters: list[nn.Parameter], params: Mapping[str, Any], device: torch.device
) -> Optimizer:
    return _build_sgd(parameters, params, device, nesterov=params["nesterov"])


def _momentum(
    parameters: list[nn.Parameter], params: Mapping[str, Any], device: torch.device
) -> Optimizer:
    return _build_sgd(parameters, params, device, nesterov=False)


def _nesterov(
    parameters: list[nn.Parameter], params: Mapping[str, Any], device: torch.device
) -> Optimizer:
    return _build_sgd(parameters, params, device, nesterov=True)


def _build_sgd(
    parameters: list[nn.Parameter],
    params: Mapping[str, Any],
    device: torch.device,
    *,
    nesterov: bool,
) -> Optimizer:
    momentum = params["momentum"]
    common = _common(parameters, params, device, "cpu cuda")
    # Without momentum Nesterov's is plain SGD, which PyTorch refuses to be told.
    return SGD(parameters, momentum=momentum, nesterov=nesterov and momentum > 0, **common)


def _adagrad(
    parameters: list[nn.Parameter], params: Mapping[str, Any], device: torch.device
) -> Optimizer:
    return Adagrad(parameters, eps=params["eps"], **_common(parameters, params, device, "cpu"))


def _rmsprop(
    parameters: list[nn.Parameter], params: Mapping[str, Any], device: torch.device
) -> Optimizer:
    return RMSprop(
        parameters,
        alpha=params["alpha"],
        momentum=params["momentum"],
        eps=params["eps"],
        **_common(parameters, params, device, ""),
    )


def _adam(
    parameters: list[nn.Parameter], params: Mapping[str, Any], device: torch.device
) -> Optimizer:
    betas = (params["beta1"], params["beta2"])
    return Adam(
        parameters,
        betas=betas,
        eps=params["eps"],
        **_common(parameters, params, device, "cpu cuda"),
    )


def _adamw(
    parameters: list[nn.Parameter], params: Mapping[str, Any], device: torch.device
) -> Optimizer:
    betas = (params["beta1"], params["beta2"])
    return AdamW(
        parameters,
        betas=betas,
        eps=params["eps"],
        **_common(parameters, params, device, "cpu cuda"),
    )


OPTIMIZERS: Final[Mapping[str, Recipe]] = {
    "sgd": Recipe(_sgd, ("momentum", "nesterov")),
    "momentum": Recipe(_momentum, ("momentum",)),
    "nesterov": Recipe(_nesterov, ("momentum",)),
    "adagrad": Recipe(_adagrad, ("eps",)),
    "rmsprop": Recipe(_rmsprop, ("alpha", "momentum", "eps")),
    "adam": Recipe(_adam, ("beta1", "beta2", "eps")),
    "adamw": Recipe(_adamw, ("beta1", "beta2", "eps")),
}
