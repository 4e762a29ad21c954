"""Structure first: new trials share their structural params, so that they make one stack."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from hpo.run.assignment.structural_params import StructuralParams
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Categorical, Int, SearchSpace

BATCH_SIZE: Final = "batch_size"
Points: TypeAlias = list[dict[str, Any]]


@dataclass(frozen=True)
class StructureSettings:
    """Settings of how many trials share a structure.

    Attributes:
        n_structures: A study looks at no fewer structures than this, if its space has so many. At
            each of them it looks with half as many trials as would use the budget up: the other
            half is for those that prove good. Source: judgement; not measured.
        max_counted: Points of the structural part of a space are counted up to this number. More
            make no difference. Source: any number above ``n_structures``.
    """

    n_structures: int = 8
    max_counted: int = 1000


class StructureFirst:
    """Decides the structural params of new trials, once for several of them.

    Trials of one structure can be lanes of one stack. The first trial of a structure has it as the
    search proposes it; those after it get the same, and the search proposes the rest given that.

    Args:
        structural: Tells the structural parameters.
        run: How many trials begin with a structure before another one is looked at.
        shares_batch_sizes: Returns of a point whether stacks of its structure take any batch size;
            known once the first trial was trained.

    Attributes:
        names: The structural parameters of the present structure.
    """

    def __init__(
        self,
        structural: StructuralParams,
        run: int,
        shares_batch_sizes: Callable[[Params], bool] = lambda params: False,
    ) -> None:
        self._structural, self._run, self._shares = structural, run, shares_batch_sizes
        self._first: Mapping[str, Any] = {}
        self._shared: set[Hashable] = set()
        self._n_left = 0
        self._required: dict[str, Any] = {}
        self._is_single = False
        self.names: tuple[str, ...] = ()

    @property
    def n_left(self) -> int:
        """How many more trials begin with the present structure."""
        return max(0, self._n_left)

    def n_wanted(self, n_free: int, n_held: int) -> int:
        """Returns how many trials to begin, for a worker that takes whichever come next.

        A new structure begins once there is room for half a stack of it: a lane here and a lane
        there would be as slow as trials alone. Its first trial comes alone, to see what fits.

        Args:
            n_free: How many more there is room for.
            n_held: How many there are.
        """
        n_alike = self._n_alike
        return min(n_free, n_alike) if n_alike > 0 else int(n_free >= n_held)

    def key(self, point: Mapping[str, Any]) -> Hashable:
        """Returns what trials of one stack have in common with a point."""
        rest = self._structural.key(point, (BATCH_SIZE,))
        return rest if rest in self._shared else self._structural.key(point)

    def required(self) -> Mapping[str, Any] | None:
        """Returns structural params of the trials that begin next; None where they are free.

        The batch size is among them until stacks of this structure turn out to take any.
        """
        if BATCH_SIZE in self._required and self._shares(Params(self._first)):
            self._shared.add(self._structural.key(self._first, (BATCH_SIZE,)))
            del self._required[BATCH_SIZE]
            self.names = tuple(sorted(self._required))
        return dict(self._required) if self._n_left > 0 else None

    def note(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Notes which trials have begun."""
        if not points or self._run <= 1:
            return
        if self._n_left <= 0:
            self._begin(points[-1])
        self._n_left -= len(points)

    def draw(
        self,
        trial_ids: Sequence[int],
        ask: Callable[[Sequence[int], Mapping[str, Any]], Points],
        *,
        one_by_one: bool = False,
    ) -> Points:
        """Draws params for new trials; the first of a structure decides it for those after it.

        Args:
            trial_ids: The trials.
            ask: Draws points for trials, of which some params are given.
            one_by_one: Whether trials that nothing is required of are drawn one after another,
                each with those before it known.
        """
        points: Points = []
        while len(points) < len(trial_ids):
            begin, n = len(points), self.n_left if one_by_one else self._n_alike
            batch = trial_ids[begin : begin + max(1, n)]
            points += ask(batch, self.required() or {})
            self.note(points[begin:])
        return points

    @property
    def _n_alike(self) -> int:
        return self._run - 1 if self._is_single else self.n_left

    def _begin(self, point: Mapping[str, Any]) -> None:
        names = self._structural.names(point)
        # Without a structural parameter all trials have one structure, and nothing is required.
        self._is_single = names is not None and not names
        self.names = tuple(sorted(names or ()))
        self._required, self._first = {name: point[name] for name in self.names}, point
        self._n_left = self._run if self.names else 0


def run_length(
    space: SearchSpace,
    n_trials: int | None,
    most: int,
    settings: StructureSettings = StructureSettings(),
) -> int:
    """Returns how many trials share a structure.

    Args:
        space: The study's.
        n_trials: Its budget; None for any number.
        most: Lanes that a stack takes at most.
        settings: How many structures a study looks at.
    """
    if n_trials is None:
        return most
    n_points, limit = 1, settings.max_counted
    for parameter in map(space.__getitem__, space.names):
        if isinstance(parameter, Categorical):
            n_points = min(limit, n_points * len(parameter.choices))
        elif isinstance(parameter, Int):
            n_points = min(limit, n_points * (parameter.high - parameter.low + 1))
    return max(1, min(most, n_trials // (2 * min(settings.n_structures, n_points))))
