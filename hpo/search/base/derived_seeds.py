"""Derived seeds: numbers that follow from a study's seed and others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(*parts: int) -> int:
    """Returns one 32-bit seed made of several numbers, unrelated for neighbouring ones."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def uniforms(seed: int, numbers: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns a number from [0, 1) for each of several whole numbers, unrelated for neighbours.

    Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    n = np.asarray(numbers, dtype=np.uint64)
    bits = np.uint64(mix(seed)) + (n + np.uint64(1)) * np.uint64(_GOLDEN)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(_FIRST)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(_SECOND)
    bits ^= bits >> np.uint64(31)
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)
