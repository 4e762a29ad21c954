"""Failed ranks: the process of a distributed training that failed first, as torchrun reports it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_ROOT_CAUSE: Final = "Root Cause (first observed failure):"
_RANK: Final = re.compile(r"\s+rank\s+: (\d+) ")
_CODE: Final = re.compile(r"\s+exitcode\s+: (-?\d+) ")


class FailedRank(NamedTuple):
    """A rank that failed.

    Attributes:
        number: Among all ranks, from 0.
        code: Its exit code, negative for a signal.
        lines: What it said at its end, without the prefix of PyTorch.
    """

    number: int
    code: int
    lines: list[str]


def failed_rank(lines: Sequence[str]) -> FailedRank | None:
    """Returns the rank that torchrun names as the cause at the end of its output.

    Args:
        lines: The end of the output, from where the ranks wrote their tracebacks.

    Returns:
        None if there is no such report.
    """
    if _ROOT_CAUSE not in lines:
        return None
    at = len(lines) - 1 - list(reversed(lines)).index(_ROOT_CAUSE)
    report = lines[at:]
    ranks, codes = (
        [found[1] for found in map(pattern.match, report) if found] for pattern in (_RANK, _CODE)
    )
    if not ranks or not codes:
        return None
    prefix = f"[rank{ranks[0]}]: "
    said = [line.removeprefix(prefix) for line in lines[:at] if line.startswith(prefix)]
    return FailedRank(int(ranks[0]), int(codes[0]), said)
