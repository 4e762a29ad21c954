"""What a worker does next, where the search says: which trials go on, which begin, how far."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from optuna.trial import FrozenTrial

from hpo.run.asking import AWAY, claim, relaxed
from hpo.run.post import Post
from hpo.search.auto import AUTO, choose
from hpo.search.curves import Curves, State
from hpo.search.decisions import Advance, Ask, Note, Plan, Verdict
from hpo.search.distributions import complete
from hpo.search.encoding import Encoder
from hpo.search.history import History, TrialRow, row_of
from hpo.search.judging import is_free, is_pending
from hpo.search.rungs import lowest_rung
from hpo.search.schedulers import Scheduler, make_scheduler
from hpo.spec.params import Params
from hpo.spec.space import Fixed, SearchSpace
from hpo.spec.study import StudySpec
from hpo.store.ledger import Claim, Lease, Standing, Wish, Wishes
from hpo.train.signature import structural
from hpo.train.task import Task

_N_TRIES: Final = 3
# An answer that there is nothing to do is good for so long: others take at least an epoch.
_QUIET_S: Final = 0.5


class Stacking:
    """Lets new trials share their structure, so that they are trained as one stack.

    Args:
        task: Builds the models.
        n_train: Number of training samples.
        space: The study's.
        run: How many trials begin with a structure before another one is looked at.
        shares: Tells of a point whether stacks of its structure take any batch size.
    """

    def __init__(
        self,
        task: Task,
        n_train: int,
        space: SearchSpace,
        run: int,
        shares: Callable[[Params], bool] = lambda params: False,
    ) -> None:
        self._shares = shares
        self._point: Mapping[str, Any] = {}
        self._task, self._n_train, self._space, self._run = task, n_train, space, run
        self._n_left = 0
        self._pinned: dict[str, Any] = {}
        self.names: tuple[str, ...] = ()

    @property
    def required(self) -> Mapping[str, Any] | None:
        """Structural values of the trials that begin next; None where they are free."""
        self._pinned = relaxed(self._pinned, self._point, self._shares)
        self.names = tuple(sorted(self._pinned))
        return self._pinned if self._n_left > 0 else None

    def note(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Notes which trials have begun."""
        if not points or self._run <= 1:
            return
        if self._n_left <= 0:
            self._pin(points[-1])
        self._n_left -= len(points)

    def _pin(self, point: Mapping[str, Any]) -> None:
        names = structural(self._task, self._space, point, self._n_train)
        searched = {name for name in point if not isinstance(self._space[name], Fixed)}
        # Where every parameter is structural, trials that share them would all be the same one.
        self.names = tuple(sorted(names & searched)) if searched - names else ()
        self._pinned, self._point = {name: point[name] for name in self.names}, point
        self._n_left = self._run if self.names else 0


class Planning:
    """Asks a scheduler, and the ledger for what it says; see ``Asking``.

    Args:
        post: The study, its ledger and its search.
        scheduler: Decides.
        stacking: How new trials share their structure; None where each is trained alone.
    """

    def __init__(self, post: Post, scheduler: Scheduler, stacking: Stacking | None = None) -> None:
        self._post = post
        self._stacking = stacking
        self.pauses = scheduler.pauses
        self._take_up(post.study.spec, scheduler)
        self._memory: Note = {}
        self._planned: dict[int, Mapping[str, Any] | None] = {}
        self._quiet_until_s = 0.0

    def _take_up(self, spec: StudySpec, scheduler: Scheduler) -> None:
        self._spec, self._scheduler = spec, scheduler
        encoder = Encoder.of_space(spec.space)
        maximize = spec.directions[0] == "maximize"
        self._history = History(encoder, spec.budget.epochs, maximize)
        self._ids: dict[int, int] = {}
        self._ended: set[int] = set()

    def wanted(self, n_free: int, n_held: int) -> int:
        """See ``Asking``."""
        is_quiet = n_held > 0 and time.monotonic() < self._quiet_until_s
        return 0 if is_quiet else max(0, n_free)

    def claim(self, n: int, held: Collection[int], at_stop: Sequence[Lease]) -> Claim:
        """See ``Asking``."""
        post = self._post
        found = Claim((), exhausted=False, reason="waiting")
        for _ in range(_N_TRIES):
            seen = post.soon(self._look, None, waits=not held)
            if seen is None:
                return AWAY
            standing, trials = seen
            self._refresh(standing, trials)
            if not self._scheduler.pauses:
                return claim(post, n, held)
            wishes = self._wishes(n, at_stop, standing)
            found = claim(post, n, held, wishes)
            if found.leases or not found.n_missed:
                break
        if not found.leases:
            self._quiet_until_s = time.monotonic() + _QUIET_S
        return found

    def params(self, leases: Sequence[Lease]) -> list[Params]:
        """See ``Asking``."""
        search = self._post.search
        new = [lease for lease in leases if lease.is_new]
        points = self._post.patiently(lambda: self._points(new)) if new else {}
        if self._stacking is not None:
            self._stacking.note(list(points.values()))
        for lease in leases:
            if lease.trial_id not in points:
                known = self._post.patiently(lambda i=lease.trial_id: search.params(i))  # type: ignore[misc]
                points[lease.trial_id] = known
        return [Params(points[lease.trial_id]) for lease in leases]

    def pausing(self, values: Mapping[int, tuple[Lease, float]]) -> set[int]:
        """See ``Asking``."""
        if not self.pauses:
            return set()
        for lease, value in values.values():
            stop = lease.epoch_stop
            row = TrialRow(lease.number, State.RUNNING, {}, {stop: value}, epoch_stop=stop)
            self._history.put(row)
        numbers = [lease.number for lease, _ in values.values()]
        verdicts = self._scheduler.judge(self._history.curves(), numbers)
        pairs = zip(values, verdicts, strict=True)
        return {trial_id for trial_id, verdict in pairs if verdict == Verdict.PAUSE}

    def _look(self) -> tuple[Standing, list[FrozenTrial]]:
        # In this order: what is planned must not have moved on since the trials were read.
        standing = self._post.ledger.standing(self._post.study.study_id)
        return standing, self._post.search.trials()

    def _refresh(self, standing: Standing, trials: Sequence[FrozenTrial]) -> None:
        if standing.epochs not in (None, self._spec.budget.epochs):
            spec = self._spec.with_budget(epochs=standing.epochs)
            self._take_up(spec, make_scheduler(spec))
        for trial in trials:
            if trial.number in self._ended:
                continue
            place = standing.places.get(trial._trial_id)
            self._ids[trial.number] = trial._trial_id
            is_leased = place is None or place.is_held
            stop = 0 if place is None else place.epoch_stop
            self._history.put(row_of(trial, is_leased=is_leased, epoch_stop=stop))
            if trial.state.is_finished():
                self._ended.add(trial.number)

    def _wishes(self, n: int, at_stop: Sequence[Lease], standing: Standing) -> Wishes:
        curves = self._history.curves()
        if standing.n_new == 0:
            curves = _without_waiting(curves)
        ask = self._ask(n, at_stop, standing)
        plan = self._scheduler.plan(curves, ask)
        plan = with_one_complete(plan, curves.with_paused(ask.at_rung), standing.epochs_left)
        self._memory = plan.memory
        self._planned = {start.number: start.params for start in plan.starts}
        ordered = []
        for one in plan.assignments:
            if not isinstance(one, Advance):
                ordered.append(Wish(None, 0, one.epoch_stop))
            elif (place := standing.places.get(trial_id := self._ids[one.number])) is not None:
                ordered.append(Wish(trial_id, place.epoch, one.epoch_stop))
        first = min((start.epoch_stop for start in plan.starts), default=lowest_rung(curves))
        return Wishes(tuple(ordered), first, standing.last_token if plan.finished else None)

    def _ask(self, n: int, at_stop: Sequence[Lease], standing: Standing) -> Ask:
        n_places = sum(place.is_held for place in standing.places.values()) + n - len(at_stop)
        left = standing.epochs_left
        return Ask(
            n=n,
            n_new=standing.n_new,
            epochs_left=None if left is None else left / max(1, n_places),
            at_rung=tuple(lease.number for lease in at_stop),
            memory=self._memory,
            **self._structure(),
        )

    def _structure(self) -> dict[str, Any]:
        if self._stacking is None:
            return {}
        required = self._stacking.required
        return {"structural": self._stacking.names, "structure": required}

    def _points(self, leases: Sequence[Lease]) -> dict[int, dict[str, Any]]:
        """Returns the params of new trials, stored: the planned ones if the numbers are those."""
        numbers = [lease.number for lease in leases]
        if all(number in self._planned for number in numbers):
            drawn = [self._planned[number] for number in numbers]
        else:
            # Who planned on the same history has the same points: now they are drawn for these.
            ask = Ask(len(numbers), memory=self._memory, **self._structure())
            proposed, self._memory = self._scheduler.propose(self._history.curves(), numbers, ask)
            drawn = [*proposed, *[None] * (len(numbers) - len(proposed))]
        own = {
            lease.trial_id: point
            for lease, point in zip(leases, drawn, strict=True)
            if point is not None
        }
        search = self._post.search
        search.give(own)
        points = {i: complete(point, self._spec.space) or dict(point) for i, point in own.items()}
        rest = [lease.trial_id for lease in leases if lease.trial_id not in own]
        if rest:
            pinned = self._structure().get("structure") or {}
            points |= dict(zip(rest, search.ask(rest, pinned), strict=True))
        return points


def planning(post: Post, stacking: Stacking | None = None) -> Planning | None:
    """Returns what asks the study's scheduler; None where Optuna's methods decide alone."""
    spec = post.study.spec
    scheduler = make_scheduler(spec)
    if scheduler.pauses or choose(spec).sampler == AUTO:
        return Planning(post, scheduler, stacking)
    return None


def with_one_complete(plan: Plan, curves: Curves, epochs_left: int | None) -> Plan:
    """Returns a plan by which a study will have one trial that was trained to the end.

    Without one, the best paused trial goes on to the end when nothing else is worth doing, or
    when no more epochs are left than it needs.

    Args:
        plan: What the scheduler said.
        curves: All trials; the worker's own at their stop as paused ones.
        epochs_left: Of the study's budget; None for any number.
    """
    pending = is_pending(curves)
    stops = [one.epoch_stop for one in plan.assignments]
    to_the_end = pending & (curves.targets >= curves.horizon)
    is_safe = ((curves.states == State.COMPLETE) | to_the_end).any()
    free = np.flatnonzero(is_free(curves))
    if is_safe or not len(free) or max(stops, default=0) >= curves.horizon:
        return plan
    best = free[np.argmax(np.nan_to_num(curves.best[free], nan=-np.inf))]
    n_needed = curves.horizon - int(curves.epochs[best])
    if not stops and pending.any():
        return plan
    if stops and (epochs_left is None or epochs_left - sum(stops) >= n_needed):
        return plan
    last = Advance(int(curves.numbers[best]), curves.horizon, {"by": "closing"})
    return replace(plan, assignments=(last,), finished=False)


def _without_waiting(curves: Curves) -> Curves:
    """Returns the curves without trials that no budget lets begin."""
    states = np.where(curves.states == State.WAITING, State.FAILED, curves.states)
    return replace(curves, states=states.astype(np.int64))
