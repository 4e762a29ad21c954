"""Point drawing: params of new trials, as a scheduler planned them or from where they come else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hpo.run.assignment.decision_record import DecisionRecorder
from hpo.run.assignment.structure_first import Points, StructureFirst
from hpo.run.assignment.study_view import StudyView
from hpo.run.link.context import WorkerContext
from hpo.search.base.decisions import Ask, Note, Plan
from hpo.search.base.distributions import complete
from hpo.search.optuna.inferred_space import known_space
from hpo.search.schedulers.registry import Scheduler
from hpo.store.ledger.leases import Lease


class PointDrawing:
    """Draws the params of new trials, and stores them.

    A trial gets the point that was planned for its number. If another worker was faster with that
    number, the scheduler proposes a point for the trial alone. What it leaves open, the sampler
    draws.

    Args:
        context: The study and its search.
        records: Where proposals are recorded.
        structure_first: Makes new trials share their structure; None where each trains alone.

    Attributes:
        memory: The scheduler's, of its last answer.
    """

    def __init__(
        self,
        context: WorkerContext,
        records: DecisionRecorder,
        structure_first: StructureFirst | None = None,
    ) -> None:
        self._context = context
        self._records = records
        self._structure_first = structure_first
        self._planned: dict[int, Mapping[str, Any] | None] = {}
        self.memory: Note = records.memory

    def expect(self, plan: Plan) -> None:
        """Notes a plan, whose points its new trials get."""
        self.memory = plan.memory
        self._planned = {start.number: start.params for start in plan.starts}

    def draw(
        self, leases: Sequence[Lease], scheduler: Scheduler, view: StudyView
    ) -> dict[int, dict[str, Any]]:
        """Returns the params of new trials by trial_id, stored.

        Args:
            leases: Of the trials.
            scheduler: Proposes points that were not planned.
            view: The study as the worker saw it before it claimed them.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """
        numbers = [lease.number for lease in leases]
        points = self._planned_points(numbers) or self._proposed_points(numbers, scheduler, view)
        given = {
            lease.trial_id: point
            for lease, point in zip(leases, points, strict=True)
            if point is not None
        }
        stored = {trial_id: point for trial_id, point in given.items() if point}
        if stored:
            self._context.client.call(partial(self._context.search.give, stored))
        # An objective asks for its params later.
        space = known_space(view.spec)
        params = {key: complete(point, space) or dict(point) for key, point in given.items()}
        rest = [lease.trial_id for lease in leases if lease.trial_id not in given]
        if self._structure_first is not None:
            self._structure_first.note(list(params.values()))
        drawn = self._sampled(rest, view) if rest and len(space) else [{}] * len(rest)
        return params | dict(zip(rest, drawn, strict=True))

    def _planned_points(self, numbers: Sequence[int]) -> list[Mapping[str, Any] | None]:
        """Returns the points that were planned for trials; none unless for all of them."""
        if all(number in self._planned for number in numbers):
            return [self._planned[number] for number in numbers]
        return []

    def _proposed_points(
        self, numbers: Sequence[int], scheduler: Scheduler, view: StudyView
    ) -> list[Mapping[str, Any] | None]:
        """Returns points that the scheduler proposes for trials which it did not plan."""
        first, curves = self._structure_first, view.curves
        required = None if first is None else first.required()
        ask = Ask(
            len(numbers),
            structural=() if first is None else first.names,
            structure=required,
            memory=self.memory,
        )
        # Workers that plan on the same history plan the same points, so these are drawn anew.
        points, self.memory = scheduler.propose(curves, numbers, ask)
        self._records.note_drawn(curves, numbers, ask, self.memory)
        return [*points, *[None] * (len(numbers) - len(points))]

    def _sampled(self, trial_ids: Sequence[int], view: StudyView) -> Points:
        paused = view.paused_ids()

        def ask(ids: Sequence[int], required: Mapping[str, Any]) -> Points:
            context = self._context
            return context.client.call(partial(context.search.ask, ids, required, paused))

        if self._structure_first is None:
            return ask(trial_ids, {})
        return self._structure_first.draw(trial_ids, ask, one_by_one=True)
