"""Malloc settings: how a worker's process keeps memory that it has freed."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

KEPT: Final = 256 * 2**20
_LARGEST_BLOCK: Final = 32 * 2**20  # the most that glibc allows
# Names of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed() -> bool:
    """Lets the C library keep what this process frees, up to ``KEPT`` bytes.

    A step of training takes and frees the same blocks again and again. By default they go back to
    the system in between, and each 4 KiB of them costs a page fault when they are taken anew.
    ``MALLOC_TRIM_THRESHOLD_`` and ``MALLOC_MMAP_THRESHOLD_``
    in the environment go before this.

    Returns:
        Whether it does now; only glibc can.
    """
    if any(name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")):
        return False
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    # Each alone would switch off how the other one adapts, and be worse than nothing.
    done = mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK) and mallopt(_TRIM_THRESHOLD, KEPT)
    return bool(done)
