"""Structural params: those that decide a model's structure, and so which trials make a stack."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any

from hpo.spec.space.search_space import Fixed, SearchSpace
from hpo.train.checks.signature import structural
from hpo.train.task import Task


class StructuralParams:
    """Names of the structural parameters, found out once for each set of active ones.

    They are an estimate where they depend on the values, too. Whether trials are trained as one
    stack does not follow from it.

    Args:
        task: Builds the models.
        n_train: Number of training samples.
        space: The study's.
    """

    def __init__(self, task: Task, n_train: int, space: SearchSpace) -> None:
        self._task, self._n_train, self._space = task, n_train, space
        self._known: dict[frozenset[str], frozenset[str] | None] = {}

    def names(self, point: Mapping[str, Any]) -> frozenset[str] | None:
        """Returns the searched parameters that trials of one stack share with a point.

        None where all are structural: trials that share them would be one and the same.
        """
        active = frozenset(point)
        if active not in self._known:
            searched = {name for name in active if not isinstance(self._space[name], Fixed)}
            found = structural(self._task, self._space, point, self._n_train)
            self._known[active] = found & searched if searched - found else None
        return self._known[active]

    def key(self, point: Mapping[str, Any], ignored: Collection[str] = ()) -> Hashable:
        """Returns what trials of one stack have in common with a point.

        Args:
            point: Params of a trial.
            ignored: Names of params that may differ.
        """
        names = self.names(point)
        kept = set(point if names is None else names) - set(ignored)
        return tuple((name, point[name]) for name in sorted(kept))
