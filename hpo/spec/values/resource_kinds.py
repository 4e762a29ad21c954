"""Resource kinds: shares of GPUs and sizes of memory, as study files write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from hpo.spec.values.findings import Findings, show
from hpo.spec.values.kinds import Number, Whole, wrong

MOST_PER_GPU: Final = 32
MOST_GPUS: Final = 1024
_SMALLEST: Final = 0.5 / MOST_PER_GPU
_MOST_BYTES: Final = 2.0**60
_ROUNDING: Final = 0.03  # 0.33, 0.17 and 0.14 are meant as 1/3, 1/6 and 1/7
_DECIMAL: Final = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
_BINARY: Final = {"kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40}
_UNITS: Final = _DECIMAL | _BINARY
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")


@dataclass(frozen=True)
class GpuCount:
    """The GPUs of a trial: none, a whole number of them, or an equal share of one."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns an int, or a float below 1, or ``WRONG``."""
        number = Number().read(value, findings)
        if not isinstance(number, float):
            return number
        if number.is_integer():
            return Whole(0, MOST_GPUS).read(int(number), findings)
        if not 0 < number < 1:
            wanted = "must be 0, a whole number, or a share of one GPU such as 0.5"
            return wrong(findings, f"{wanted}; found {show(value)}")
        if n_sharing(number) is None:
            near = " or ".join(dict.fromkeys(f"{1 / n:.2g}" for n in _neighbours(number)))
            return wrong(findings, f"a share of a GPU must be 1/2, 1/3, ... of it: {near}")
        return number


@dataclass(frozen=True)
class MemorySize:
    """A size of memory with its unit."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns the text of a size, or ``WRONG``."""
        if not isinstance(value, str) or n_bytes(value) is None:
            return wrong(
                findings, f'must be a size such as "16GiB" or "500MB"; found {show(value)}'
            )
        return value


def n_sharing(share: float) -> int | None:
    """Returns how many trials with this share one GPU holds; None where it is no 1/n."""
    n = round(1 / max(share, _SMALLEST))
    return n if n <= MOST_PER_GPU and abs(share * n - 1) <= _ROUNDING else None


def n_bytes(size: str) -> int | None:
    """Returns the bytes of a size such as ``16GiB``; None where it is none, or is zero."""
    found = _SIZE.fullmatch(size)
    if found is None or found[2].lower() not in _UNITS:
        return None
    size_in_bytes = float(found[1]) * _UNITS[found[2].lower()]
    return int(size_in_bytes) if 1 <= size_in_bytes < _MOST_BYTES else None


def _neighbours(share: float) -> tuple[int, int]:
    low = min(int(1 / max(share, _SMALLEST)), MOST_PER_GPU)
    return max(low, 2), max(min(low + 1, MOST_PER_GPU), 2)
