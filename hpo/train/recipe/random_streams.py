"""Random streams: a trial's randomness follows from its seed, the purpose and the epoch alone.

Every epoch begins with fresh seeds, so that no generator's state has to be kept: an epoch that is
trained after a restart, on another machine or in a stack draws what it would have drawn anyway.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

Purpose: TypeAlias = Literal["weights", "order", "noise", "mixup", "part"]
# Numbers, and not places in a list, because a change of them would change every study.
_PURPOSES: Final[dict[Purpose, int]] = {"weights": 1, "order": 2, "noise": 3, "mixup": 4, "part": 5}


def derive(seed: int, purpose: Purpose, epoch: int = 0) -> int:
    """Returns a 32-bit seed, unrelated to those of other trials, purposes and epochs.

    Args:
        seed: The trial's; not negative.
        purpose: What is drawn.
        epoch: Epochs completed before.
    """
    sequence = np.random.SeedSequence((seed, _PURPOSES[purpose], epoch))
    return int(sequence.generate_state(1)[0])


def sample_order(n: int, seed: int, epoch: int) -> Tensor:
    """Returns the order in which an epoch visits the training samples.

    Args:
        n: Number of samples.
        seed: The trial's.
        epoch: Epochs completed before.

    Returns:
        A permutation of shape [N] on the CPU, the same for every device.
    """
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    return torch.randperm(n, generator=generator)


def batch_bounds(n: int, batch_size: int) -> list[tuple[int, int]]:
    """Cuts an epoch into batches.

    All are of ``batch_size`` but the last, which has what is left. A single sample that is left
    joins the batch before it: batch normalisation cannot train on one.

    Returns:
        Begin and end of each batch within the sample order.
    """
    starts = list(range(0, n, batch_size))
    if batch_size > 1 and n % batch_size == 1 and len(starts) > 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the global generators of PyTorch, NumPy and Python, and puts them back at the end.

    Args:
        seed: Of 32 bits.
        device: Whose generator is seeded as well as the CPU's.
    """
    # Not torch.manual_seed and fork_rng: they concern every CUDA device, and wake them up.
    python_state, numpy_state = random.getstate(), np.random.get_state()
    cpu_state, device_state = torch.get_rng_state(), _get_state(device)
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    _seed_device(device, seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(cpu_state)
        _set_state(device, device_state)


def _seed_device(device: torch.device, seed: int) -> None:
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _get_state(device: torch.device) -> Tensor | None:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def _set_state(device: torch.device, state: Tensor | None) -> None:
    if state is None:
        return
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.mps.set_rng_state(state)
