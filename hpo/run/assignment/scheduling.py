"""What a worker does next, where the search says: which trials go on, which begin, how far."""

from __future__ import annotations

import time
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from optuna.trial import FrozenTrial

from hpo.run.assignment.assigner import AWAY, claim
from hpo.run.assignment.decision_record import DecisionRecorder
from hpo.run.assignment.stack_grouping import together
from hpo.run.assignment.structure_first import Stacking
from hpo.run.link.context import WorkerContext
from hpo.search.base.auto import AUTO, choose
from hpo.search.base.curves import State
from hpo.search.base.decisions import Advance, Ask, Decision, Note, Start
from hpo.search.base.distributions import complete
from hpo.search.base.history import History, ObservedTrial, row_of
from hpo.search.base.param_encoding import Encoder
from hpo.search.base.rungs import lowest_rung
from hpo.search.model.forecast import is_out_of_patience
from hpo.search.schedulers.halving import Halving
from hpo.search.schedulers.planner import decide
from hpo.search.schedulers.registry import Scheduler, make_scheduler
from hpo.spec.space.params import Params
from hpo.spec.study_spec import StudySpec
from hpo.store.ledger.leases import AssignmentRequest, AssignmentRequests, Claim, Lease, StudyStatus
from hpo.store.optuna.trial_cache import Changes, Cursor

_N_TRIES: Final = 3
# An answer that there is nothing to do is good for so long: others take at least an epoch.
_QUIET_S: Final = 0.5


class Planning:
    """Asks a scheduler, and the ledger for what it says; see ``Asking``.

    Args:
        context: The study, its ledger and its search.
        scheduler: Decides.
        stacking: How new trials share their structure; None where each is trained alone.
    """

    def __init__(
        self, context: WorkerContext, scheduler: Scheduler, stacking: Stacking | None = None
    ) -> None:
        self._context = context
        self._stacking = stacking
        self.pauses = scheduler.pauses
        self._take_up(context.study.spec, scheduler)
        self._records = DecisionRecorder(context)
        self._memory: Note = self._records.memory
        self._planned: dict[int, Mapping[str, Any] | None] = {}
        self._quiet_until_s = 0.0
        self._n_quiet = 0
        self._idle_at: object = None
        self._given: Sequence[Lease] = ()

    def _take_up(self, spec: StudySpec, scheduler: Scheduler) -> None:
        self._spec, self._scheduler = spec, scheduler
        # Who is promoted may as well go on later. A model's choice is for now, and whatever takes
        # its place costs more epochs than stacks save.
        self._is_grouped = self._stacking is not None and isinstance(scheduler, Halving)
        encoder = Encoder.of_space(spec.space)
        maximize = spec.directions[0] == "maximize"
        self._history = History(encoder, spec.budget.epochs, maximize)
        self._ids: dict[int, int] = {}
        self._open: dict[int, FrozenTrial] = {}
        self._ended: set[int] = set()
        self._cursor: Cursor | None = None

    def wanted(self, n_free: int, n_held: int) -> int:
        """See ``Asking``."""
        is_quiet = 0 < n_held == self._n_quiet and time.monotonic() < self._quiet_until_s
        if self._is_grouped and n_free < n_held and not (self._stacking and self._stacking.n_left):
            # Another structure begins once there is room for half a stack of it.
            return 0
        return 0 if is_quiet else max(0, n_free)

    def claim(self, n: int, held: Collection[int], at_stop: Sequence[Lease]) -> Claim:
        """See ``Asking``."""
        context = self._context
        found = Claim((), exhausted=False, reason="waiting")
        for _ in range(_N_TRIES):
            seen = context.client.try_call(self._look, None, waits=not held)
            if seen is None:
                return AWAY
            standing, changes = seen
            if not self._refresh(standing, changes):
                continue
            # Somebody may have cancelled one that the worker still has.
            at_stop = [lease for lease in at_stop if lease.number not in self._ended]
            if self._is_impatient:
                standing = replace(standing, n_new=0)
            if self._is_idle(standing, held) and not at_stop:
                break
            if not self._scheduler.pauses:
                self._given = (found := claim(context, n, held)).leases
                return found
            wishes = self._wishes(n, held, at_stop, standing)
            found = claim(context, n, held, wishes)
            if found.leases or not found.n_missed:
                break
        self._given = found.leases
        if not any(lease.is_new for lease in found.leases):
            self._records.write(found.leases)
        self._quiet_until_s = 0.0
        if not found.leases:
            self._quiet_until_s = time.monotonic() + _QUIET_S
            going = set(held) - {lease.trial_id for lease in at_stop}
            self._n_quiet = len(going)
            self._idle_at = _occasion(standing, going)
        return found

    def _is_idle(self, standing: StudyStatus, held: Collection[int]) -> bool:
        """Tells whether there was nothing to do, and only its own lanes have gone on since.

        How often a lone worker looks depends on the clock, and what it does must not.
        """
        places = standing.leases.items()
        is_alone = all(key in held for key, place in places if place.is_held)
        return bool(held) and is_alone and self._idle_at == _occasion(standing, held)

    def params(self, leases: Sequence[Lease]) -> list[Params]:
        """See ``Asking``."""
        search = self._context.search
        new = [lease for lease in leases if lease.is_new]
        points = self._context.client.call(lambda: self._points(new)) if new else {}
        if new:
            self._records.write(self._given)
        for lease in leases:
            if lease.trial_id not in points:
                known = self._context.client.call(lambda i=lease.trial_id: search.params(i))  # type: ignore[misc]
                points[lease.trial_id] = known
        return [Params(points[lease.trial_id]) for lease in leases]

    def pausing(self, values: Mapping[int, tuple[Lease, float]]) -> set[int]:
        """See ``Asking``."""
        if not self.pauses:
            return set()
        values = {key: v for key, v in values.items() if v[0].number not in self._ended}
        for lease, value in values.values():
            stop = lease.epoch_stop
            row = ObservedTrial(lease.number, State.RUNNING, {}, {stop: value}, epoch_stop=stop)
            self._history.put(row)
        numbers = [lease.number for lease, _ in values.values()]
        verdicts = self._scheduler.judge(self._history.curves(), numbers)
        pairs = zip(values, verdicts, strict=True)
        return {trial_id for trial_id, verdict in pairs if verdict == Decision.PAUSE}

    def _look(self) -> tuple[StudyStatus, Changes]:
        # In this order: if the token is the same later, nothing was granted since the look.
        standing = self._context.ledger.study_status(
            self._context.study.study_id, with_leases=False
        )
        changes: Changes = self._context.search.changes(self._cursor)
        return replace(standing, leases=changes.leases), changes

    def _refresh(self, standing: StudyStatus, changes: Changes) -> bool:
        """Takes in what has changed; False where all trials have to be looked at again."""
        if standing.epochs not in (None, self._spec.budget.epochs):
            was_new = self._cursor is None
            spec = self._spec.with_budget(epochs=standing.epochs)
            self._take_up(spec, make_scheduler(spec, portfolio=self._context.portfolio))
            if not was_new:
                return False
        self._cursor = changes.cursor
        for trial in changes.trials:
            if trial.number in self._ended:
                continue
            place = standing.leases.get(trial._trial_id)
            self._ids[trial.number] = trial._trial_id
            self._open[trial.number] = trial
            is_leased = place is None or place.is_held
            stop = 0 if place is None else place.epoch_stop
            self._history.put(row_of(trial, is_leased=is_leased, epoch_stop=stop))
            if trial.state.is_finished():
                self._ended.add(trial.number)
                del self._open[trial.number]
        return True

    def _wishes(
        self, n: int, held: Collection[int], at_stop: Sequence[Lease], standing: StudyStatus
    ) -> AssignmentRequests:
        curves = self._history.curves()
        ask = self._ask(n, at_stop, standing)
        plan = decide(self._scheduler, curves, ask, standing.epochs_left)
        self._records.note(curves, ask, plan, standing.epochs_left)
        self._memory = plan.memory
        self._planned = {start.number: start.params for start in plan.starts}
        ordered = []
        for one in self._together(plan.assignments, held, len(held) - len(at_stop)):
            if not isinstance(one, Advance):
                ordered.append(AssignmentRequest(None, 0, one.epoch_stop))
            elif (place := standing.leases.get(trial_id := self._ids[one.number])) is not None:
                ordered.append(AssignmentRequest(trial_id, place.epoch, one.epoch_stop))
        first = min((start.epoch_stop for start in plan.starts), default=lowest_rung(curves))
        finished_at = standing.last_token if plan.finished else None
        return AssignmentRequests(tuple(ordered), first, finished_at, self._reason(standing))

    @property
    def _is_impatient(self) -> bool:
        patience = self._context.patience
        return patience is not None and is_out_of_patience(self._history.curves(), patience)

    def _reason(self, standing: StudyStatus) -> str:
        """Returns why the study ends, if it does."""
        if self._is_impatient:
            return "patience"
        # New trials could begin, if there were any points for them.
        return "budget" if standing.n_new == 0 else "exhausted"

    def _together(
        self, planned: Sequence[Advance | Start], held: Collection[int], n_going: int
    ) -> Sequence[Advance | Start]:
        stacking = self._stacking
        if stacking is None or not self._is_grouped:
            return planned
        return together(
            planned,
            self._key,
            {self._key(number) for number in self._open if self._ids[number] in held},
            is_pinned=stacking.n_left > 0,
            n_going=n_going,
        )

    def _key(self, number: int) -> Hashable:
        assert self._stacking is not None
        params = self._open[number].params
        return self._stacking.key(complete(params, self._spec.space) or params)

    def _ask(self, n: int, at_stop: Sequence[Lease], standing: StudyStatus) -> Ask:
        n_places = sum(place.is_held for place in standing.leases.values()) + n - len(at_stop)
        left, depth = standing.epochs_left, _depth_left(standing)
        shares = [] if left is None else [left / max(1, n_places)]
        shares += [] if depth is None else [depth]
        return Ask(
            n=n,
            n_new=standing.n_new,
            epochs_left=min(shares, default=None),
            depth_left=depth,
            at_rung=tuple(lease.number for lease in at_stop),
            memory=self._memory,
            **self._structure(),
        )

    def _paused(self) -> list[int]:
        """Returns the ids of the paused trials that have reported something."""
        curves = self._history.curves()
        numbers = curves.numbers[curves.is_paused & (curves.epochs > 0)]
        return [self._ids[number] for number in numbers.tolist()]

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
            curves = self._history.curves()
            proposed, self._memory = self._scheduler.propose(curves, numbers, ask)
            self._records.note_drawn(curves, numbers, ask, self._memory)
            drawn = [*proposed, *[None] * (len(numbers) - len(proposed))]
        own = {
            lease.trial_id: point
            for lease, point in zip(leases, drawn, strict=True)
            if point is not None
        }
        search = self._context.search
        search.give(own)
        points = {i: complete(point, self._spec.space) or dict(point) for i, point in own.items()}
        rest = [lease.trial_id for lease in leases if lease.trial_id not in own]
        if self._stacking is None:
            return points | dict(
                zip(rest, search.ask(rest, {}, self._paused()) if rest else [], strict=True)
            )
        self._stacking.note(list(points.values()))
        while rest:
            # The first of a structure decides it for those after it.
            batch = rest[: max(1, self._stacking.n_left)]
            found = search.ask(batch, self._stacking.required or {}, self._paused())
            self._stacking.note(found)
            points |= dict(zip(batch, found, strict=True))
            rest = rest[len(batch) :]
        return points


def _depth_left(standing: StudyStatus) -> float | None:
    """Returns the epochs that one trial can have before the deadline; None for any number."""
    if standing.seconds_left is None or not standing.epoch_s:
        return None
    return standing.seconds_left / standing.epoch_s


def _occasion(standing: StudyStatus, held: Collection[int]) -> object:
    return standing.last_token, standing.epochs, standing.n_new, frozenset(held)


def planning(context: WorkerContext, stacking: Stacking | None = None) -> Planning | None:
    """Returns what asks the study's scheduler; None where Optuna's methods decide alone."""
    spec = context.study.spec
    scheduler = make_scheduler(spec, portfolio=context.portfolio)
    if scheduler.pauses or choose(spec).sampler == AUTO:
        return Planning(context, scheduler, stacking)
    return None
