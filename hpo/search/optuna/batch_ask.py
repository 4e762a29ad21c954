"""Batch: one read of the history and one write, for decisions about several trials."""

from __future__ import annotations

import copy
from collections.abc import Collection, Container, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.optuna_internals import trial_id_of
from hpo.search.base.distributions import distribution, suggest
from hpo.spec.space.search_space import SearchSpace


class PausedAsPruned:
    """A storage that shows paused trials as pruned ones, and passes everything else on.

    Samplers leave trials that run out, or count them as bad; what has paused shows how good it is,
    as pruned trials do.

    Args:
        storage: The storage.
        paused: Ids of RUNNING trials that no worker trains.
    """

    def __init__(self, storage: BaseStorage, paused: Collection[int]) -> None:
        self._storage: Any = storage
        self._paused = frozenset(paused)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Returns the trials; copies of them if asked for."""
        trials = self._storage.get_all_trials(study_id, deepcopy=deepcopy)
        shown = [self._shown(trial) for trial in trials]
        return [trial for trial in shown if states is None or trial.state in states]

    def _shown(self, trial: FrozenTrial) -> FrozenTrial:
        if trial_id_of(trial) not in self._paused or trial.state != TrialState.RUNNING:
            return trial
        shown = copy.copy(trial)
        shown.state = TrialState.PRUNED
        return shown


class Batch(PausedAsPruned):
    """A storage as it was when the batch began, for decisions about many trials.

    All trials are read once; params, and what samplers and pruners note of trials, are kept until
    they are delivered. Everything else is passed on. To samplers and pruners it looks like any
    storage.

    Args:
        storage: The storage.
        paused: As in `PausedAsPruned`.
    """

    def __init__(self, storage: BaseStorage, paused: Collection[int] = ()) -> None:
        super().__init__(storage, paused)
        self._trials: dict[int, list[FrozenTrial]] = {}
        self._answers: dict[tuple[str, int | str], Any] = {}
        self._params: dict[int, dict[str, tuple[float, BaseDistribution]]] = {}
        self._notes: dict[int, dict[str, Any]] = {}

    def get_study_id_from_name(self, study_name: str) -> int:
        """Returns the storage's answer, which is asked once."""
        return int(self._once("get_study_id_from_name", study_name))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Returns the storage's answer, which is asked once."""
        found: list[StudyDirection] = self._once("get_study_directions", study_id)
        return found

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Returns the trials as of the first call, for reading only."""
        if study_id not in self._trials:
            self._trials[study_id] = super().get_all_trials(study_id, deepcopy=False)
        found = self._trials[study_id]
        return [t for t in found if states is None or t.state in states]

    def set_trial_param(
        self, trial_id: int, name: str, internal: float, distribution: BaseDistribution
    ) -> None:
        """Keeps a param."""
        self._params.setdefault(trial_id, {})[name] = (internal, distribution)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keeps a note of a sampler's or a pruner's."""
        self._notes.setdefault(trial_id, {})[key] = value

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """Returns the storage's answer with what is kept."""
        return {**self._storage.get_trial_system_attrs(trial_id), **self._notes.get(trial_id, {})}

    def _once(self, verb: str, key: int | str) -> Any:
        if (verb, key) not in self._answers:
            self._answers[verb, key] = getattr(self._storage, verb)(key)
        return self._answers[verb, key]

    def deliver(self) -> None:
        """Writes what was kept: in one transaction where the storage has a verb for it."""
        items = list(self._params.items())
        notes = [(i, key, v) for i, kept in self._notes.items() for key, v in kept.items()]
        self._params, self._notes = {}, {}
        if hasattr(self._storage, "set_params"):
            if items or notes:
                self._storage.set_params(items, notes)
            return
        for trial_id, params in items:
            for name, (internal, found) in params.items():
                self._storage.set_trial_param(trial_id, name, internal, found)
        for trial_id, key, value in notes:
            self._storage.set_trial_system_attr(trial_id, key, value)


def draw(
    study: optuna.Study,
    batch: Batch,
    trial_id: int,
    space: SearchSpace,
    pinned: Mapping[str, Any],
) -> dict[str, Any]:
    """Draws one point, of which some values may be given.

    Args:
        study: Over the batch, with the trial's sampler.
        batch: Takes what is drawn.
        trial_id: The trial.
        space: Where the point is drawn from.
        pinned: Values that it gets where they apply; the rest is drawn as if the sampler
            had proposed them.

    Returns:
        Value of every active parameter, the fixed ones included.
    """
    trial = optuna.Trial(study, trial_id)
    for name, value in pinned.items():
        found = distribution(space[name])
        if found is not None:
            batch.set_trial_param(trial_id, name, found.to_internal_repr(value), found)
    return suggest(trial, space, pinned)
