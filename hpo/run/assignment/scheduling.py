"""Scheduling: which trials a worker begins and resumes, and how far, as the scheduler plans."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from optuna.exceptions import UpdateFinishedTrialError

from hpo.run.assignment.assigner import AWAY, Assigner
from hpo.run.assignment.backoff import Backoff
from hpo.run.assignment.decision_record import DecisionRecorder
from hpo.run.assignment.early_stopping import claim_call
from hpo.run.assignment.plan_requests import ask_of, requests_of
from hpo.run.assignment.point_drawing import PointDrawing
from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.run.assignment.stack_grouping import fitting
from hpo.run.assignment.structure_first import StructureFirst
from hpo.run.assignment.study_view import StudyView
from hpo.run.link.context import WorkerContext
from hpo.search.base.auto import AUTO, choose
from hpo.search.base.decisions import Advance, Decision, Start
from hpo.search.model.forecast import is_out_of_patience
from hpo.search.model.portfolio import Portfolio
from hpo.search.schedulers.halving import Halving
from hpo.search.schedulers.planner import decide
from hpo.search.schedulers.registry import Scheduler, make_scheduler
from hpo.spec.space.params import Params
from hpo.store.ledger.leases import AssignmentRequests, Claim, Lease, StudyStatus
from hpo.store.optuna.trial_cache import Changes


@dataclass(frozen=True)
class SchedulingSettings:
    """Settings of ``Scheduling``.

    Attributes:
        n_tries: Plans that a worker makes before it gives up until its next turn, where others
            took what it requested, or the budget of epochs was changed. Source: judgement; two
            are needed where the budget changes.
    """

    n_tries: int = 3


class Scheduling(Assigner):
    """Assigns trials as a scheduler plans, on what the ledger says of the study.

    Args:
        context: The study, its ledger and its search.
        scheduler: Decides.
        structure_first: Makes new trials share their structure; None where each trains alone.
        settings: How often it tries.
    """

    def __init__(
        self,
        context: WorkerContext,
        scheduler: Scheduler,
        structure_first: StructureFirst | None = None,
        settings: SchedulingSettings = SchedulingSettings(),
    ) -> None:
        self.pauses = scheduler.pauses
        self._context = context
        self._scheduler = scheduler
        self._structure_first = structure_first
        # What halving promotes can as well be resumed later. A model's choice is for now, and
        # replacing it costs more epochs than stacks save.
        self._grouping = structure_first if isinstance(scheduler, Halving) else None
        self._settings = settings
        self._view = StudyView(context.study.spec)
        self._is_objective = context.study.spec.objective is not None
        self._backoff = Backoff()
        self._records = DecisionRecorder(context)
        self._points = PointDrawing(context, self._records, structure_first)

    def wanted(self, n_free: int, n_held: int) -> int:
        """Returns how many trials to claim; none soon after a claim that brought nothing."""
        if self._grouping is not None and n_free < n_held and not self._grouping.n_left:
            # Another structure begins once there is room for half a stack of it.
            return 0
        return 0 if self._backoff.is_quiet(n_held) else max(0, n_free)

    def claim(self, n: int, held: Collection[int], at_stop: Sequence[Lease] = ()) -> Claim:
        """Claims the trials that the scheduler plans with, after a look at what has changed."""
        client, found = self._context.client, Claim((), exhausted=False, reason="waiting")
        for _ in range(self._settings.n_tries):
            seen = client.try_call(self._look, None) if held else client.call(self._look)
            if seen is None:
                return AWAY
            status, changes = seen
            if not self._update(status, changes):
                continue
            # A trial that the worker still has may have been cancelled.
            at_stop = [lease for lease in at_stop if not self._view.is_finished(lease.number)]
            if self._is_out_of_patience():
                status = replace(status, n_new=0)
            if self._backoff.is_pointless(status, held) and not at_stop:
                break
            requests = self._requests(n, held, at_stop, status) if self.pauses else None
            call = claim_call(self._context, n, held, requests)
            found = client.try_call(call, AWAY) if held else client.call(call)
            if found.leases or not found.n_missed:
                break
        self._note(found, status, set(held) - {lease.trial_id for lease in at_stop})
        if self._is_objective:
            self._plan_params(found.leases, at_stop)
        return found

    def params(self, leases: Sequence[Lease]) -> list[Params]:
        """Returns the params of trials; new ones get what was planned for them.

        Those of an objective are what it has asked for so far; `claim` has stored the plan.
        """
        client, search = self._context.client, self._context.search
        new = [lease for lease in leases if lease.is_new and not self._is_objective]
        points = self._points.draw(new, self._scheduler, self._view) if new else {}
        if new:
            self._records.write()
        for lease in leases:
            if lease.trial_id not in points:
                points[lease.trial_id] = client.call(partial(search.params, lease.trial_id))
        return [Params(points[lease.trial_id]) for lease in leases]

    def to_pause(self, values: Mapping[int, tuple[Lease, float]]) -> set[int]:
        """Returns which trials the scheduler pauses; it sees their values before the ledger."""
        if not self.pauses:
            return set()
        known = [pair for pair in values.values() if not self._view.is_finished(pair[0].number)]
        for lease, value in known:
            self._view.note_value(lease, value)
        leases = [lease for lease, _ in known]
        decisions = self._scheduler.judge(self._view.curves, [lease.number for lease in leases])
        pairs = zip(leases, decisions, strict=True)
        return {lease.trial_id for lease, decision in pairs if decision == Decision.PAUSE}

    def _plan_params(self, leases: Sequence[Lease], at_stop: Sequence[Lease]) -> None:
        """Stores what new trials of an objective will get when they ask for their params."""
        granted = {lease.trial_id for lease in leases}
        own = {lease.trial_id for lease in at_stop}
        self._context.search.paused = own.union(self._view.paused_ids()) - granted
        new = [lease for lease in leases if lease.is_new]
        if not new:
            return
        with contextlib.suppress(UpdateFinishedTrialError, KeyError):
            # One that was cancelled meanwhile needs none.
            self._points.draw(new, self._scheduler, self._view)
        self._records.write()

    def _look(self) -> tuple[StudyStatus, Changes]:
        # In this order: if the token is the same later, nothing was granted since the look.
        status = self._context.ledger.study_status(self._context.study.study_id, with_leases=False)
        changes: Changes = self._context.search.changes(self._view.cursor)
        return replace(status, leases=changes.leases), changes

    def _update(self, status: StudyStatus, changes: Changes) -> bool:
        """Enters what has changed; returns False where all trials have to be read again."""
        spec = self._view.spec
        if status.epochs not in (None, spec.budget.epochs):
            # The budget was changed. Curves and decisions depend on the last epoch.
            is_new = self._view.cursor is None
            self._view = StudyView(spec.with_budget(epochs=status.epochs))
            self._renew_scheduler()
            if not is_new:
                return False
        if self._view.update(changes):
            self._renew_scheduler()
        return True

    def _renew_scheduler(self) -> None:
        view, portfolio = self._view, self._context.portfolio
        self._scheduler = scheduler_of(view, portfolio)
        if self._is_objective:
            self._records.note_space(view.encoder)

    def _is_out_of_patience(self) -> bool:
        patience = self._context.patience
        return patience is not None and is_out_of_patience(self._view.curves, patience)

    def _requests(
        self, n: int, held: Collection[int], at_stop: Sequence[Lease], status: StudyStatus
    ) -> AssignmentRequests:
        """Asks the scheduler; returns its plan in the terms of the ledger."""
        curves = self._view.curves
        ask = ask_of(status, n, at_stop, self._points.memory, self._structure_first)
        plan = decide(self._scheduler, curves, ask, status.epochs_left)
        self._records.note(curves, ask, plan, status.epochs_left)
        self._points.expect(plan)
        chosen = self._fitting(plan.assignments, held, len(held) - len(at_stop))
        is_last = self._is_out_of_patience()
        return requests_of(plan, chosen, self._view, status, is_out_of_patience=is_last)

    def _fitting(
        self, planned: Sequence[Advance | Start], held: Collection[int], n_running: int
    ) -> Sequence[Advance | Start]:
        grouping, view = self._grouping, self._view
        if grouping is None:
            return planned
        present = {grouping.key(view.params(number)) for number in view.unfinished(held)}
        return fitting(
            planned,
            lambda number: grouping.key(view.params(number)),
            present,
            is_required=grouping.n_left > 0,
            n_running=n_running,
        )

    def _note(self, found: Claim, status: StudyStatus, running: Collection[int]) -> None:
        self._records.note_granted(found.leases)
        if not self.pauses:
            return
        # The record of new trials tells where their params come from, too: see `params`.
        if not any(lease.is_new for lease in found.leases):
            self._records.write()
        if found.leases:
            self._backoff.note_granted()
        else:
            self._backoff.note_empty(status, running)


def make_assigner(
    context: WorkerContext,
    structure_first: StructureFirst | None = None,
    *,
    resumable: bool = False,
) -> Assigner:
    """Returns what assigns a study's trials to a worker.

    Trials of an objective that cannot be resumed run to their end, or to where the study's pruner
    stops them. So do those of one that can under a pruner that never pauses, such as `median`.
    Otherwise the scheduler pauses and resumes them, in the space that they turn out to have.

    Args:
        context: The study, its ledger and its search.
        structure_first: Makes new trials share their structure; None where each trains alone.
        resumable: Of an objective, whether its trials can be resumed, because it uses `hpo.Run`;
            the budget of epochs in the database is that which it has announced. It says nothing of
            a task or a command.
    """
    spec, study_id = context.study.spec, context.study.study_id
    if spec.objective is not None:
        if not resumable:
            return SamplerAssigner(context)
        status = context.client.call(lambda: context.ledger.study_status(study_id))
        view = StudyView(spec.with_budget(epochs=status.epochs))
        scheduler = scheduler_of(view, context.portfolio)
        return Scheduling(context, scheduler) if scheduler.pauses else SamplerAssigner(context)
    scheduler = scheduler_of(StudyView(spec), context.portfolio)
    if scheduler.pauses or choose(spec).sampler == AUTO:
        return Scheduling(context, scheduler, structure_first)
    return SamplerAssigner(context, structure_first)


def scheduler_of(view: StudyView, portfolio: Portfolio | None) -> Scheduler:
    """Returns the scheduler of a study in the space of a view.

    Args:
        view: The study's trials.
        portfolio: First points; those that come with the package by default.
    """
    encoder = None if view.spec.objective is None else view.encoder
    return make_scheduler(view.spec, portfolio=portfolio, encoder=encoder)
