"""Whether code draws random numbers: from a generator that lanes of a stack would share."""

from __future__ import annotations

import random
from collections.abc import Hashable

import numpy as np
import torch


class RngGuard:
    """Notes where the global generators stand.

    Args:
        device: Whose generator is looked at as well as the CPU's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = _states(device)

    @property
    def any(self) -> bool:
        """Whether somebody has drawn since."""
        return _states(self._device) != self._before


def _states(device: torch.device) -> Hashable:
    numpy_state = np.random.get_state(legacy=False)["state"]
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    drawn = tuple(state.numpy().tobytes() for state in states)
    return drawn, numpy_state["key"].tobytes(), numpy_state["pos"], random.getstate()
