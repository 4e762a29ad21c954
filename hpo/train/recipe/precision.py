"""Precision: a model computes in float32, on an NVIDIA GPU in TF32, in bfloat16 or in float16.

Float16 has few exponents: a factor of the loss keeps small gradients from being 0.
Whatever it is, weights, gradients of weights, the optimizer and the loss are float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from hpo.errors import TaskError
from hpo.train.data.batch import Tensors, leaves, mapped
from hpo.train.user_code_guard import found_instead

PRECISIONS: Final = ("float32", "tf32", "bf16", "fp16")
_CASTS: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def products(precision: str, device: torch.device) -> Iterator[None]:
    """Has matrix products and convolutions of float32 use TF32, or not; forward and backward.

    By default PyTorch lets convolutions use it and matrix products not. Devices other than NVIDIA
    GPUs have no TF32 and compute in float32.

    Args:
        precision: One of ``PRECISIONS``.
        device: Where it is computed.
    """
    if device.type != "cuda":
        yield
        return
    backends: Any = torch.backends
    settings = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def cast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Has a forward pass compute in 16 bits what is safe in them, if that is the precision.

    Args:
        precision: One of ``PRECISIONS``.
        device: Where it is computed.
    """
    if precision not in _CASTS:
        return nullcontext()
    # No cache: casts that a CUDA graph has captured must not be anybody else's.
    return torch.autocast(device.type, dtype=_CASTS[precision], cache_enabled=False)


def gradient_scaler(precision: str, device: torch.device) -> GradScaler | None:
    """Returns what scales the loss of a trial in float16; None for other precisions.

    Source: Micikevicius et al. 2018, Mixed precision training, section 3.2.
    """
    return GradScaler(device.type) if precision == "fp16" else None


def full(outputs: Tensors) -> Tensors:
    """Returns a model's outputs in float32, if they are of 16 bits.

    Raises:
        TaskError: They are no tensors.
    """
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype in _CASTS.values() else outputs
    if not leaves(outputs):
        raise TaskError(f"the model must return tensors; it returns {found_instead(outputs)}")
    return mapped(full, outputs)
