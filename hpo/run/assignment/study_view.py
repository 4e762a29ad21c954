"""Study view: what a worker knows of its study's trials, updated from what has changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from optuna.trial import FrozenTrial

from hpo.optuna_internals import trial_id_of
from hpo.search.base.curves import Curves
from hpo.search.base.distributions import complete
from hpo.search.base.history import History, row_of
from hpo.search.base.param_encoding import Encoder
from hpo.search.optuna.inferred_space import InferredSpace
from hpo.search.optuna.objective_rows import at_present, of_objective
from hpo.spec.study_spec import StudySpec
from hpo.store.ledger.leases import Lease, LeaseStatus
from hpo.store.optuna.trial_cache import Changes, Cursor


class StudyView:
    """Learning curves, states and ids of a study's trials; not for several threads.

    The parameters of an objective are those that its trials have asked for so far. When a trial
    tells of another one, or of another range, all points are encoded anew.

    Args:
        spec: The study. Its budget of epochs is the longest curve.

    Attributes:
        spec: The same.
        encoder: The searched parameters.
        cursor: Time since which changes are read; None for all trials.
    """

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.cursor: Cursor | None = None
        self._space = None if spec.objective is None else InferredSpace()
        self.encoder = Encoder.of_space(spec.space) if self._space is None else self._space.encoder
        self._history = self._new_history()
        self._seen: dict[int, tuple[FrozenTrial, LeaseStatus | None]] = {}
        self._ids: dict[int, int] = {}
        self._unfinished: dict[int, FrozenTrial] = {}
        self._finished: set[int] = set()

    @property
    def curves(self) -> Curves:
        """What is known now; later updates do not change it."""
        return self._history.curves()

    def update(self, changes: Changes) -> bool:
        """Enters the trials that have changed, and moves the cursor.

        Returns:
            Whether the encoder is another one now.
        """
        self.cursor = changes.cursor
        has_changed = self._space is not None and self._space.update(changes.trials)
        if has_changed and self._space is not None:
            self.encoder = self._space.encoder
            self._history = self._new_history()
            for trial, status in self._seen.values():
                self._put(trial, status)
        for trial in changes.trials:
            if trial.number in self._finished:
                continue
            status = changes.leases.get(trial_id_of(trial))
            self._ids[trial.number] = trial_id_of(trial)
            self._unfinished[trial.number] = trial
            self._put(trial, status)
            if trial.state.is_finished():
                self._finished.add(trial.number)
                del self._unfinished[trial.number]
        return has_changed

    def note_value(self, lease: Lease, value: float) -> None:
        """Enters the objective of a trial of this worker after its ``epoch_stop``."""
        self._history.reach(lease.number, lease.epoch_stop, value)

    def trial_id(self, number: int) -> int:
        """Returns the id of a trial."""
        return self._ids[number]

    def is_finished(self, number: int) -> bool:
        """Returns whether a trial has ended, here or elsewhere."""
        return number in self._finished

    def unfinished(self, trial_ids: Collection[int]) -> list[int]:
        """Returns the numbers of those of the trials that have not ended."""
        return [number for number in self._unfinished if self._ids[number] in trial_ids]

    def params(self, number: int) -> Mapping[str, Any]:
        """Returns the params of an unfinished trial, fixed ones included; as far as drawn."""
        params = self._unfinished[number].params
        return complete(params, self.spec.space) or params

    def paused_ids(self) -> list[int]:
        """Returns the ids of the paused trials that have reported something."""
        curves = self.curves
        numbers = curves.numbers[curves.is_paused & (curves.epochs > 0)]
        return [self._ids[number] for number in numbers.tolist()]

    def _new_history(self) -> History:
        maximize = self.spec.directions[0] == "maximize"
        return History(self.encoder, self.spec.budget.epochs, maximize)

    def _put(self, trial: FrozenTrial, status: LeaseStatus | None) -> None:
        is_leased = status is None or status.is_held
        stop = 0 if status is None else status.epoch_stop
        row = row_of(trial, is_leased=is_leased, epoch_stop=stop)
        if self._space is not None:
            self._seen[trial.number] = (trial, status)
            row = at_present(of_objective(row, trial), self.encoder)
        self._history.put(row)
