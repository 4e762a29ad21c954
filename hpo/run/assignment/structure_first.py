"""New trials that share their structure, so that they are trained as one stack."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from hpo.run.assignment.assigner import BATCH_SIZE, Layout, relaxed
from hpo.spec.space.params import Params


class Stacking:
    """Lets new trials share their structure, so that they are trained as one stack.

    Args:
        layout: Tells the structural parameters.
        run: How many trials begin with a structure before another one is looked at.
        shares: Tells of a point whether stacks of its structure take any batch size.
    """

    def __init__(
        self,
        layout: Layout,
        run: int,
        shares: Callable[[Params], bool] = lambda params: False,
    ) -> None:
        self._layout, self._run, self._shares = layout, run, shares
        self._point: Mapping[str, Any] = {}
        self._shared: set[Hashable] = set()
        self._n_left = 0
        self._pinned: dict[str, Any] = {}
        self.names: tuple[str, ...] = ()

    @property
    def n_left(self) -> int:
        """How many more trials begin with the present structure."""
        return max(0, self._n_left)

    def key(self, point: Mapping[str, Any]) -> Hashable:
        """Returns what trials of one stack have in common with a point."""
        rest = self._layout.key(point, (BATCH_SIZE,))
        return rest if rest in self._shared else self._layout.key(point)

    @property
    def required(self) -> Mapping[str, Any] | None:
        """Structural values of the trials that begin next; None where they are free."""
        free = relaxed(self._pinned, self._point, self._shares)
        if free != self._pinned:
            self._shared.add(self._layout.key(self._point, (BATCH_SIZE,)))
            self._pinned, self.names = free, tuple(sorted(free))
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
        self._pinned, self._point = {name: point[name] for name in self.names}, point
        self._n_left = self._run if self.names else 0
