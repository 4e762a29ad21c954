"""Seeds that follow from others."""

from __future__ import annotations

import numpy as np


def mix(*parts: int) -> int:
    """Returns one 32-bit seed made of several numbers, unrelated for neighbouring ones."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
