"""Decision report: why each trial was started and resumed, and whether replaying agrees."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpo.errors import StoreError
from hpo.search.base.decision_replay import Record, curves_at, encoder_at
from hpo.search.base.decisions import Advance, Plan, Start
from hpo.search.base.grants import Granted, explained
from hpo.search.base.history import ObservedTrial, row_of
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.warm_start import from_json
from hpo.search.optuna.objective_rows import of_objective
from hpo.search.optuna.study_search import Search
from hpo.search.schedulers.planner import decide
from hpo.search.schedulers.registry import make_scheduler
from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage
from hpo.store.rows import decision_log
from hpo.store.rows.decision_log import Suggestion
from hpo.store.rows.unreadable_rows import UNREADABLE
from hpo.store.studies import study_records
from hpo.store.studies.study_records import StudyRecord

_PRECISION = 1e-9
_UNPLANNED = ("enqueued", "interrupted", "anew")


@dataclass(frozen=True)
class Step:
    """An assignment of a trial to a worker.

    Attributes:
        plan: Index of its record, from 0.
        at: Time; naive UTC by the database's clock.
        granted: The trial, and the epoch up to which it was assigned.
        method: Name and version of the planner.
        seed: Seed of the plan's random numbers; None if it has none.
    """

    plan: int
    at: datetime.datetime
    worker_id: int | None
    granted: Granted
    method: str
    seed: int | None

    @property
    def reason(self) -> str:
        """The reason as text."""
        return explained(self.granted)


class Replay:
    """The recorded decisions of a study.

    Args:
        db: The database.
        name: The study.

    Raises:
        StoreError: hpo did not create it, or a record cannot be read.
        SpecError: There is no such study.
    """

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._study: StudyRecord = study_records.load(db, name)
        self._found = decision_log.of_study(db, self._study.study_id)
        self._records = [_record(one) for one in self._found]
        self._rows: list[ObservedTrial] = []

    def steps(self, trial: int | None = None) -> list[Step]:
        """Returns the assignments to workers, oldest first.

        Args:
            trial: Number of the trial to return; None for all.
        """
        return [
            Step(
                plan=i,
                at=found.at,
                worker_id=found.worker_id,
                granted=granted,
                method=f"{record.note.get('method', '')} {record.note.get('version', '')}".strip(),
                seed=record.note.get("seed"),
            )
            for i, (found, record) in enumerate(zip(self._found, self._records, strict=True))
            for granted in record.granted
            if trial is None or granted.number == trial
        ]

    def differences(self, plan: int) -> dict[int, str]:
        """Computes a plan again from its recorded inputs and compares it.

        Parameters that one of Optuna's samplers drew are not drawn again.

        Returns:
            Differences by trial; empty if the plans are equal.
        """
        record = self._records[plan]
        self._rows = self._rows or self._read()
        # An objective may ask for other ranges than those that were planned for.
        params = {row.number: row.planned or row.params for row in self._rows}
        again, drawn = self._again(plan)
        planned = {one.number: one for one in again.assignments}
        found = {}
        for granted in record.granted:
            points = {granted.number: drawn[granted.number]} if granted.number in drawn else {}
            wrong = _difference(granted, planned.get(granted.number), points, params)
            if wrong:
                found[granted.number] = wrong
        return found

    def _read(self) -> list[ObservedTrial]:
        trials = Search(self._study.spec, Storage(self._db)).trials()
        if self._study.spec.objective is None:
            return [row_of(trial) for trial in trials]
        return [of_objective(row_of(trial), trial) for trial in trials]

    def _again(self, plan: int) -> tuple[Plan, dict[int, Mapping[str, Any] | None]]:
        """Returns a plan, and the parameters that were drawn after it, by trial number."""
        record, spec = self._records[plan], self._study.spec
        prior = None if self._study.prior is None else from_json(self._study.prior)
        spec = spec.with_budget(epochs=record.horizon)
        own = [
            known
            for known, found in zip(self._records[: plan + 1], self._found, strict=False)
            if found.worker_id == self._found[plan].worker_id
        ]
        maximize = spec.directions[0] == "maximize"
        told = None if spec.objective is None else encoder_at(own)
        scheduler = make_scheduler(spec, portfolio=prior, encoder=told)
        encoder = Encoder.of_space(spec.space) if told is None else told
        curves = curves_at(own, self._rows, encoder, maximize=maximize)
        again, ask = Plan(()), record.ask
        if record.is_planned:
            again = decide(scheduler, curves, ask, record.epochs_left)
            ask = replace(
                ask,
                n=len(record.drawn),
                n_new=None,
                epochs_left=None,
                at_rung=(),
                memory=again.memory,
            )
        if not record.drawn:
            return again, {}
        proposal = scheduler.propose(curves, record.drawn, ask)
        return again, dict(zip(record.drawn, proposal.points, strict=False))


def _record(found: Suggestion) -> Record:
    try:
        return Record.from_json(found.record)
    except UNREADABLE as error:
        why = f"{type(error).__name__}: {error}"
        raise StoreError(
            f"table hpo_suggestion, row suggestion_id {found.suggestion_id}: "
            f"record cannot be read: {why}"
        ) from error


def _difference(
    granted: Granted,
    planned: Advance | Start | None,
    drawn: Mapping[int, Mapping[str, Any] | None],
    params: Mapping[int, Mapping[str, Any]],
) -> str:
    if granted.note.get("by") not in _UNPLANNED:
        if planned is None or isinstance(planned, Start) != granted.is_new:
            return "the plan does not have it now"
        # The budget may have allowed less than was planned.
        if planned.epoch_stop < granted.epoch_stop:
            return f"the plan now trains it up to epoch {planned.epoch_stop}"
    if not granted.is_new:
        return ""
    point = drawn.get(granted.number)
    if not drawn and isinstance(planned, Start):
        point = planned.params
    if point is None:
        return ""
    found = params.get(granted.number, {})
    other = [name for name, value in point.items() if not _is_same(value, found.get(name))]
    return f"different parameters: {', '.join(other)}" if other else ""


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_PRECISION)
    return bool(one == other)
