"""New trials that share their structure, so that they are trained as one stack."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from hpo.run.asking import Layout


class Stacking:
    """Lets new trials share their structure, so that they are trained as one stack.

    Args:
        layout: Tells the structural parameters.
        run: How many trials begin with a structure before another one is looked at.
    """

    def __init__(self, layout: Layout, run: int) -> None:
        self._layout, self._run = layout, run
        self._n_left = 0
        self._pinned: dict[str, Any] = {}
        self.names: tuple[str, ...] = ()

    @property
    def n_left(self) -> int:
        """How many more trials begin with the present structure."""
        return max(0, self._n_left)

    def key(self, point: Mapping[str, Any]) -> Hashable:
        """Returns what trials of one stack have in common with a point."""
        return self._layout.key(point)

    @property
    def required(self) -> Mapping[str, Any] | None:
        """Structural values of the trials that begin next; None where they are free."""
        return self._pinned if self._n_left > 0 else None

    def note(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Notes which trials have begun."""
        if not points or self._run <= 1:
            return
        if self._n_left <= 0:
            self._pin(points[-1])
        self._n_left -= len(points)

    def _pin(self, point: Mapping[str, Any]) -> None:
        self.names = tuple(sorted(self._layout.names(point) or ()))
        self._pinned = {name: point[name] for name in self.names}
        self._n_left = self._run if self.names else 0
