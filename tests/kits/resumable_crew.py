"""Workers at an objective that pauses, on a real database, without processes or training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial

from hpo.run.assignment.scheduling import make_assigner
from hpo.run.link.context import WorkerContext
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.ledger.leases import EpochRow, Lease, Outcome
from hpo.store.studies import studies
from tests.kits.contexts import context_at

Params = Mapping[str, Any]


class Loop(NamedTuple):
    """An objective: what it asks for, and its value after each epoch."""

    ask: Callable[[optuna.Trial], Params]
    value: Callable[[Params, int], float]


class Worker:
    """One place, which trains a trial until the search pauses it.

    Args:
        context: The worker's.
        loop: The objective.
    """

    def __init__(self, context: WorkerContext, loop: Loop) -> None:
        context.patience = context.study.budget.patience
        self.context, self.loop = context, loop
        self.assigner = make_assigner(context, resumable=True)
        self.lease: Lease | None = None
        self.params: Params = {}

    @property
    def held(self) -> set[int]:
        return set() if self.lease is None else {self.lease.trial_id}

    def turn(self) -> bool:
        """Trains a trial up to its stop; returns False once the study is over."""
        context, mine = self.context, self.lease
        claim = self.assigner.claim(1, self.held, [] if mine is None else [mine])
        (lease,) = claim.leases or (None,)
        if mine is not None and (lease is None or lease.trial_id != mine.trial_id):
            self._settle(mine, "paused")
        self.lease = lease
        if lease is None:
            return not claim.exhausted
        # As an objective that begins anew, or from its checkpoint.
        trial = optuna.Trial(context.search.study_for(lease.trial_id), lease.trial_id)
        self.params = self.loop.ask(trial)
        for epoch in range(lease.epoch + 1, lease.epoch_stop + 1):
            assert not context.ledger.report([self._row(lease, epoch)])
        value = self.loop.value(self.params, lease.epoch_stop)
        if not self.assigner.to_pause({lease.trial_id: (lease, value)}):
            self._settle(lease, "complete")
        return True

    def _row(self, lease: Lease, epoch: int) -> EpochRow:
        value = self.loop.value(self.params, epoch)
        return EpochRow(lease.trial_id, lease.token, epoch, {"v": value}, value, None, 0.0, None)

    def _settle(self, lease: Lease, state: Any) -> None:
        every = [self.loop.value(self.params, e) for e in range(1, lease.epoch_stop + 1)]
        up = self.context.study.spec.directions[0] == "maximize"
        best = max(every) if up else min(every)
        values = (best,) if state == "complete" else None
        outcome = Outcome(lease.trial_id, lease.token, state, values, epoch=lease.epoch_stop)
        assert not self.context.ledger.settle([outcome])
        self.lease = None


def run(
    db: Database, spec: StudySpec, loop: Loop, folder: Path, n_workers: int = 1
) -> list[FrozenTrial]:
    """Works until the study is over, the workers in turn; returns its trials."""
    studies.create_or_join(db, spec, None)
    crew = [Worker(context_at(db, spec.name, folder), loop) for _ in range(n_workers)]
    left = list(crew)
    while left:
        left = [worker for worker in left if worker.turn()]
    return crew[0].context.search.trials()


def n_epochs(trials: list[FrozenTrial]) -> int:
    """Returns how many epochs were trained."""
    return sum(len(trial.intermediate_values) for trial in trials)
