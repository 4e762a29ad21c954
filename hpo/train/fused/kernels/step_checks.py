"""Checks of a stacked step, before trials train by it: its numerics, and its random numbers."""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

# Gradients may differ from autograd's by rounding only.
_RELATIVE: Final = 1e-3
_ABSOLUTE: Final = 1e-5


def are_close(found: Tensor, expected: Tensor) -> bool:
    """Returns whether all lanes of ``found`` [K, ...] are as expected [...]."""
    if not expected.numel():
        return True
    # A lane whose first step diverges says nothing against its stack.
    scale = 1 + float(expected.nan_to_num(0, 0, 0).abs().max())
    expected = expected.expand_as(found)
    return torch.allclose(found, expected, _RELATIVE, _ABSOLUTE * scale, equal_nan=True)


def repeated(values: Mapping[str, Tensor], n_lanes: int) -> dict[str, Tensor]:
    """Returns copies of one model's tensors for so many lanes, [K, ...]."""
    return {
        name: t.detach().unsqueeze(0).repeat(n_lanes, *[1] * t.dim()) for name, t in values.items()
    }


class RngGuard:
    """Notices code that draws from the global generators, which all lanes of a stack share.

    Args:
        device: Its generator is compared as well as the CPU's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = _states(device)

    @property
    def has_drawn(self) -> bool:
        """Whether a random number was drawn since the guard was made."""
        return _states(self._device) != self._before


def _states(device: torch.device) -> Hashable:
    numpy_state = np.random.get_state(legacy=False)["state"]
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    drawn = tuple(state.numpy().tobytes() for state in states)
    return drawn, numpy_state["key"].tobytes(), numpy_state["pos"], random.getstate()
