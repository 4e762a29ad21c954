"""Sparkline: a curve as one line of block characters. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

BLOCKS: Final = "▁▂▃▄▅▆▇█"
NO_NUMBER: Final = "·"


def sparkline(values: Sequence[float], width: int) -> str:
    """Draws values from left to right: the least is the lowest block, the greatest the highest.

    Args:
        values: Of a curve; NaN and infinities are drawn as a dot.
        width: Maximum number of characters; of more values, evenly spaced ones are drawn, with
            the first and the last.
    """
    drawn = _evenly(values, width)
    finite = [value for value in drawn if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return "".join(_block(value, low, high) for value in drawn)


def _evenly(values: Sequence[float], width: int) -> list[float]:
    n = len(values)
    if n <= width:
        return list(values)
    if width < 2:
        return list(values[-1:]) if width else []
    return [values[round(i * (n - 1) / (width - 1))] for i in range(width)]


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return NO_NUMBER
    # Halves first: the difference of two large numbers may be infinite.
    span = high / 2 - low / 2
    share = 0.5 if span == 0 else (value / 2 - low / 2) / span
    return BLOCKS[min(len(BLOCKS) - 1, int(share * len(BLOCKS)))]
