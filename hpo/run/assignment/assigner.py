"""Which params the trials of a worker get, so that its stacks are full."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from hpo.run.assignment.early_stopping import farewell
from hpo.run.link.context import WorkerContext
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Categorical, Fixed, Int, SearchSpace
from hpo.store.ledger.leases import AssignmentRequests, Claim, Lease
from hpo.train.checks.signature import structural
from hpo.train.task import Task

# A study looks at no fewer structures than this, if its space has so many, and at each one twice
# as often as it would have to: that many trials share one, at most.
_N_STRUCTURES: Final = 8
_MOST_COUNTED: Final = 1000

BATCH_SIZE: Final = "batch_size"
AWAY: Final = Claim(leases=(), exhausted=False, reason="away")


class Asking(Protocol):
    """Says which trials to take, and gives them their params.

    Attributes:
        pauses: Whether trials are put aside on the way, to go on later or never.
    """

    pauses: bool

    def wanted(self, n_free: int, n_held: int) -> int:
        """Returns how many trials to claim next.

        Args:
            n_free: How many more there is room for.
            n_held: How many there are.
        """

    def claim(self, n: int, held: Collection[int], at_stop: Sequence[Lease]) -> Claim:
        """Takes trials.

        Args:
            n: How many, those that are at their stop and shall go on included.
            held: Ids of the trials that the worker has.
            at_stop: Those of them that have come as far as they should.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """

    def params(self, leases: Sequence[Lease]) -> list[Params]:
        """Returns the params of trials that were claimed, and draws those that they lack."""

    def pausing(self, values: Mapping[int, tuple[Lease, float]]) -> set[int]:
        """Returns which of the trials that have come as far as they should are not complete.

        Args:
            values: By trial_id the lease, and the objective after its ``epoch_stop``.
        """


def claim(
    context: WorkerContext, n: int, held: Collection[int], wishes: AssignmentRequests | None = None
) -> Claim:
    """Takes trials; see ``Ledger.claim``.

    What is held trains on while the database is away. Whatever such a claim has been given,
    unheard, the next one is given again.

    Raises:
        Stopped: The worker was told to leave, and the database is away.
    """
    study_id, worker_id = context.study.study_id, context.worker_id

    def call() -> Claim:
        last = wishes or farewell(context)
        return context.ledger.claim(study_id, worker_id, n, held, last)

    return context.client.try_call(call, AWAY, waits=not held)


class Plainly:
    """Asks for each trial by itself.

    Args:
        context: The study and its search.
    """

    pauses = False

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    def wanted(self, n_free: int, n_held: int) -> int:
        """See ``Asking``."""
        return n_free

    def claim(self, n: int, held: Collection[int], at_stop: Sequence[Lease]) -> Claim:
        """See ``Asking``."""
        return claim(self._context, n, held)

    def pausing(self, values: Mapping[int, tuple[Lease, float]]) -> set[int]:
        """See ``Asking``."""
        return set()

    def params(self, leases: Sequence[Lease]) -> list[Params]:
        """See ``Asking``."""
        context = self._context
        ids = _ids(leases)
        return [
            Params(p) for p in context.client.call(lambda: [context.search.params(i) for i in ids])
        ]


class Layout:
    """Which parameters decide a model's structure, found out once for each set of active ones.

    A guess where it depends on their values too; what trains as one stack does not follow from it.

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

    def key(self, point: Mapping[str, Any], leaves: Collection[str] = ()) -> Hashable:
        """Returns what trials of one stack have in common with a point.

        Args:
            point: Params of a trial.
            leaves: Names of those that count for nothing.
        """
        names = self.names(point)
        kept = set(point if names is None else names) - set(leaves)
        return tuple((name, point[name]) for name in sorted(kept))


class StructureFirst(Plainly):
    """Draws the parameters that decide a model's structure once for several trials.

    Trials of one structure can be lanes of one stack. A structure is drawn as the sampler wants
    it; the next trials get it too, and for the rest what the sampler wants given it.

    Args:
        context: The study and its search.
        task: Builds the models.
        n_train: Number of training samples.
        most: How many trials a stack takes at most.
        shares: Tells of a point whether stacks of its structure take any batch size.
    """

    def __init__(
        self,
        context: WorkerContext,
        task: Task,
        n_train: int,
        most: int,
        shares: Callable[[Params], bool] = lambda params: False,
    ) -> None:
        super().__init__(context)
        self._layout, self._shares = Layout(task, n_train, context.study.spec.space), shares
        self._point: Mapping[str, Any] = {}
        self._run = run_length(context.study.spec.space, context.study.budget.trials, most)
        self._pinned: dict[str, Any] = {}
        self._n_left = 0

    def wanted(self, n_free: int, n_held: int) -> int:
        """See ``Asking``.

        A new structure begins once there is room for half a stack of it: a lane here and a lane
        there would be as slow as trials alone. Its first trial comes alone, to see what fits.
        """
        if self._n_left > 0:
            return min(n_free, self._n_left)
        return int(n_free >= n_held)

    def params(self, leases: Sequence[Lease]) -> list[Params]:
        """See ``Asking``."""
        context = self._context
        ids = _ids(leases)
        found = context.client.call(lambda: {i: context.search.known(i) for i in ids})
        new = [trial_id for trial_id in ids if found[trial_id] is None]
        self._pinned = relaxed(self._pinned, self._point, self._shares)
        while new:
            batch, pinned = new[: max(1, self._n_left)], self._pinned if self._n_left else {}
            drawn = context.client.call(partial(context.search.ask, batch, pinned))
            found.update(zip(batch, drawn, strict=True))
            self._n_left -= len(batch)
            if not pinned and self._run > 1:
                self._pin(drawn[0])
            new = new[len(batch) :]
        return [Params(found[trial_id] or {}) for trial_id in ids]

    def _pin(self, point: dict[str, Any]) -> None:
        names = self._layout.names(point)
        self._pinned, self._point = {name: point[name] for name in names or ()}, point
        self._n_left = 0 if names is None else self._run - 1


def relaxed(
    pinned: dict[str, Any], point: Mapping[str, Any], shares: Callable[[Params], bool]
) -> dict[str, Any]:
    """Returns structural values without the batch size, where it turned out not to be structural.

    Args:
        pinned: What trials of a structure have in common.
        point: The first of them.
        shares: Tells of a point whether stacks of its structure take any batch size; it knows once
            the first trial was trained.
    """
    if BATCH_SIZE not in pinned or not shares(Params(point)):
        return pinned
    return {name: value for name, value in pinned.items() if name != BATCH_SIZE}


def run_length(space: SearchSpace, n_trials: int | None, most: int) -> int:
    """Returns how many trials share a structure.

    Args:
        space: The study's.
        n_trials: Its budget; None for any number.
        most: What a stack takes.
    """
    if n_trials is None:
        return most
    n_points = 1
    for parameter in map(space.__getitem__, space.names):
        if isinstance(parameter, Categorical):
            n_points = min(_MOST_COUNTED, n_points * len(parameter.choices))
        elif isinstance(parameter, Int):
            n_points = min(_MOST_COUNTED, n_points * (parameter.high - parameter.low + 1))
    return max(1, min(most, n_trials // (2 * min(_N_STRUCTURES, n_points))))


def _ids(leases: Sequence[Lease]) -> list[int]:
    return [lease.trial_id for lease in leases]
