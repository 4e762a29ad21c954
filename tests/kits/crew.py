"""Several workers at an objective, as they ask and report, without processes or a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.search.optuna.study_search import Search
from hpo.spec.study_spec import StudySpec

Objective = Callable[[optuna.Trial], float | Sequence[float]]


def objective_spec(**changes: Any) -> StudySpec:
    """Returns a study of an objective, everything else left at its default."""
    base: dict[str, Any] = {"name": "s", "objective": "o.py:f", "budget": {"trials": 24}}
    return StudySpec(**{**base, **changes})


class Crew:
    """Workers that draw their params at the same time, each without the others'.

    Args:
        spec: The study.
        n_workers: How many.
    """

    def __init__(self, spec: StudySpec, n_workers: int = 2) -> None:
        self._storage = InMemoryStorage()
        directions = [getattr(StudyDirection, d.upper()) for d in spec.directions]
        self._study_id = self._storage.create_new_study(directions, spec.name)
        self._spec, self._n_workers = spec, n_workers
        self.relieve()

    def relieve(self) -> None:
        """Lets other workers go on, which know only what the storage has."""
        self._workers = [Search(self._spec, self._storage) for _ in range(self._n_workers)]

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials."""
        return self._storage.get_all_trials(self._study_id)

    def run(self, objective: Objective, n_trials: int) -> list[FrozenTrial]:
        """Runs trials; what an objective raises, but for ``TrialPruned``, ends the test."""
        n_left = n_trials
        while n_left > 0:
            running = []
            for search in self._workers[:n_left]:
                trial_id = self._storage.create_new_trial(self._study_id)
                trial = optuna.Trial(search.study_for(trial_id), trial_id)
                _ = trial.relative_params  # Drawn now, before the others' are known.
                running.append((search, trial))
            for search, trial in running:
                self._call(search, trial, objective)
            n_left -= len(running)
        return self.trials

    def _call(self, search: Search, trial: optuna.Trial, objective: Objective) -> None:
        state, values = TrialState.COMPLETE, None
        try:
            result = objective(trial)
            values = list(result) if isinstance(result, Sequence) else [result]
        except optuna.TrialPruned:
            state = TrialState.PRUNED
            reports = trial._get_latest_trial().intermediate_values
            values = [reports[max(reports)]] if reports else None
        search.before_finish([(trial._trial_id, state, values)])
        self._storage.set_trial_state_values(trial._trial_id, state, values)


def n_distinct(trials: Sequence[FrozenTrial]) -> int:
    """Returns how many different points trials have."""
    return len({tuple(sorted(trial.params.items())) for trial in trials})


def best(trials: Sequence[FrozenTrial]) -> float:
    """Returns the smallest value of complete trials."""
    return min(t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None)
