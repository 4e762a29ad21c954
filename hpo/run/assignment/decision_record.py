"""Decision record: what a worker's trials were planned from, stored so that it can be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpo.run.link.context import WorkerContext
from hpo.search.base.curves import Curves
from hpo.search.base.decision_replay import Record
from hpo.search.base.decisions import Advance, Ask, Note, Plan
from hpo.search.base.grants import Granted
from hpo.search.base.param_encoding import Encoder
from hpo.store.ledger.leases import Lease
from hpo.store.rows import decision_log

_NO_PLAN = Plan(())


class DecisionRecorder:
    """Writes a record of each plan that has brought its worker trials.

    Training does not wait for it: what the database does not take at once is not recorded.

    Args:
        context: The worker's.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._curves: Curves | None = None
        self._before: Curves | None = None
        self._space: Note | None = None
        self._space_before: Note | None = None
        self._plan = _NO_PLAN
        self._record: Record | None = None
        self._leases: Sequence[Lease] = ()

    @property
    def memory(self) -> Note:
        """The scheduler's memory in the newest record of the study, of whichever worker."""
        context = self._context
        text = context.client.try_call(
            lambda: decision_log.newest(context.db, context.study.study_id), None
        )
        return {} if text is None else Record.from_json(text).memory

    def note_space(self, encoder: Encoder) -> None:
        """Notes the parameters that the trials of an objective have asked for."""
        self._space = encoder.to_table()

    def note(self, curves: Curves, ask: Ask, plan: Plan, epochs_left: int | None) -> None:
        """Notes a plan; it is written once it is known which trials it has brought."""
        self._curves, self._plan = curves, plan
        self._record = replace(self._new_record(curves, ask, plan), epochs_left=epochs_left)

    def note_drawn(self, curves: Curves, numbers: Sequence[int], ask: Ask, memory: Note) -> None:
        """Notes that the params of trials were drawn without a plan."""
        if self._record is None:
            self._curves, self._plan = curves, _NO_PLAN
            self._record = replace(self._new_record(curves, ask, _NO_PLAN), is_planned=False)
        self._record = replace(self._record, drawn=tuple(numbers), memory=memory)

    def note_granted(self, leases: Sequence[Lease]) -> None:
        """Notes the leases that the last claim has brought."""
        self._leases = leases

    def write(self) -> None:
        """Writes what was noted, if the claim has brought anything."""
        record, self._record = self._record, None
        if record is None or not self._leases:
            return
        granted = tuple(self._granted(lease, record.drawn) for lease in self._leases)
        text, context = replace(record, granted=granted).to_json(), self._context

        def add() -> bool:
            decision_log.add(context.db, context.study.study_id, context.worker_id, text)
            return True

        if context.client.try_call(add, False):
            self._before, self._space_before = self._curves, self._space

    def _new_record(self, curves: Curves, ask: Ask, plan: Plan) -> Record:
        found = Record.of(curves, self._before, ask, plan)
        return found if self._space == self._space_before else replace(found, space=self._space)

    def _granted(self, lease: Lease, drawn: Sequence[int]) -> Granted:
        planned = {one.number: one for one in self._plan.assignments}.get(lease.number)
        if lease.is_new and (planned is None or lease.number in drawn):
            note: Note = {"by": "anew"}
        elif planned is not None and isinstance(planned, Advance) != lease.is_new:
            note = planned.note
        else:
            note = {"by": "interrupted" if lease.epoch else "enqueued"}
        return Granted(lease.number, lease.epoch, lease.epoch_stop, lease.is_new, dict(note))
