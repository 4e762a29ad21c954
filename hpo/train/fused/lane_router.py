"""Where each lane of the fused engine trains, and what is asked there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hpo.train.fused.stack.stack import Stack
from hpo.train.loop.solo import SoloEngine


class LaneRouter:
    """Passes on what concerns one lane to the stack or the engine that has it; see ``Engine``."""

    def __init__(self) -> None:
        self._homes: dict[int, Stack | SoloEngine] = {}
        self._wanted = 1
        self._wanted_before = (0, 1)

    @property
    def capacity(self) -> int:
        """How many lanes it wants at present: what the latest lane's signature can use."""
        return max(self._wanted, len(self._homes))

    def _want_no_more(self, key: int) -> None:
        """Wants what it wanted before the latest lane, if that is the one; it may come again."""
        if self._wanted_before[0] == key:
            self._wanted = self._wanted_before[1]

    def epoch(self, key: int) -> int:
        """See ``Engine``."""
        return self._homes[key].epoch(key)

    def save(self, key: int, path: Path) -> None:
        """See ``Engine``."""
        self._homes[key].save(key, path)

    def dump(self, key: int) -> bytes:
        """See ``PartEngine``."""
        return self._homes[key].dump(key)

    def test(self, key: int) -> dict[str, float]:
        """See ``Engine``."""
        return self._homes[key].test(key)

    def best(self, key: int) -> tuple[int, dict[str, float]]:
        """See ``Engine``."""
        return self._homes[key].best(key)

    def keep(self, key: int, metrics: dict[str, float]) -> None:
        """See ``PartEngine``."""
        self._homes[key].keep(key, metrics)

    def outputs(self, key: int) -> Tensor | None:
        """See ``PartEngine``."""
        return self._homes[key].outputs(key)

    def measure(self, key: int, outputs: Tensor) -> dict[str, float]:
        """See ``PartEngine``."""
        return self._homes[key].measure(key, outputs)

    def export(self, key: int, path: Path, about: Mapping[str, Any] | None = None) -> None:
        """See ``Engine``."""
        self._homes[key].export(key, path, about)
