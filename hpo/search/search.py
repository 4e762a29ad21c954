"""What a worker asks of the search: params for a trial, and whether to stop it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from hpo.search.distributions import complete, suggest
from hpo.search.pruners import make_pruner
from hpo.search.samplers import sampler_factory
from hpo.spec.study import StudySpec


class Search:
    """One study's sampler and pruner over its history.

    Args:
        spec: The study.
        storage: Where its history is read and its params are written.
    """

    def __init__(self, spec: StudySpec, storage: BaseStorage) -> None:
        self._spec = spec
        self._storage = storage
        self._study_name = spec.name
        self._pruner = make_pruner(spec)
        self._sampler_of = sampler_factory(spec)

    def study_for(self, trial_id: int) -> optuna.Study:
        """Returns the study with the sampler that proposes this trial's params."""
        return self._study(self._storage.get_trial_number_from_id(trial_id))

    def params(self, trial_id: int) -> dict[str, Any]:
        """Returns a trial's params, and draws and stores those that it does not have yet."""
        stored = self._storage.get_trial(trial_id).params
        found = complete(stored, self._spec.space)
        if found is not None:
            return found
        return suggest(optuna.Trial(self.study_for(trial_id), trial_id), self._spec.space)

    def should_prune(self, trial_id: int) -> bool:
        """Tells whether the pruner would stop the trial after what it has reported."""
        if len(self._spec.directions) > 1:
            return False
        study = self.study_for(trial_id)
        return self._pruner.prune(study, self._storage.get_trial(trial_id))

    def before_finish(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Lets the sampler note what it needs before the trial is settled."""
        study = self.study_for(trial_id)
        trial = self._storage.get_trial(trial_id)
        study.sampler.after_trial(study, trial, state, values)

    def reported(self, trial_id: int) -> dict[int, float]:
        """Returns what a trial has reported: value by step."""
        return dict(self._storage.get_trial(trial_id).intermediate_values)

    def best_number(self) -> int | None:
        """Returns the number of the best complete trial; None where there is none."""
        if len(self._spec.directions) > 1:
            return None
        study_id = self._storage.get_study_id_from_name(self._study_name)
        try:
            return self._storage.get_best_trial(study_id).number
        except ValueError:
            return None

    def _study(self, number: int) -> optuna.Study:
        # A new object each time: Optuna's keeps a list of trials that only its own loop renews.
        sampler = self._sampler_of(number)
        return optuna.Study(self._study_name, self._storage, sampler, self._pruner)
