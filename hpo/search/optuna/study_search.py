"""Search: a study's sampler and pruner over its history, for workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.optuna_internals import trial_id_of
from hpo.search.base.distributions import complete, distribution
from hpo.search.optuna.batch_ask import Batch, PausedAsPruned, draw
from hpo.search.optuna.inferred_space import known_space
from hpo.search.optuna.planned_params import PLANNED, PlannedSampler
from hpo.search.optuna.pruners import decides_at, make_pruner
from hpo.search.optuna.samplers import notes_ends, sampler_factory
from hpo.spec.study_spec import StudySpec

if TYPE_CHECKING:
    from hpo.search.model.portfolio import Portfolio


class Search:
    """One study's sampler and pruner over its history.

    Args:
        spec: The study.
        storage: Where its history is read and its params are written.
        portfolio: First points, where they are not those that come with the package.

    Attributes:
        paused: Ids of the trials of an objective that have begun and that no worker trains now, as
            far as its worker knows; its samplers see them as pruned.
    """

    def __init__(
        self, spec: StudySpec, storage: BaseStorage, portfolio: Portfolio | None = None
    ) -> None:
        self.paused: Collection[int] = ()
        self._spec = spec
        self._space = known_space(spec)
        self._storage = storage
        self._study_name = spec.name
        self._pruner = make_pruner(spec)
        self._sampler_of = sampler_factory(spec, portfolio)

    def study_for(self, trial_id: int) -> optuna.Study:
        """Returns the study with the sampler that proposes this trial's params.

        Params that were planned for the trial come from there.
        """
        shown = PausedAsPruned(self._storage, self.paused) if self.paused else None
        study = self._study(self._storage.get_trial_number_from_id(trial_id), shown)
        study.sampler = PlannedSampler(study.sampler)
        return study

    def known(self, trial_id: int) -> dict[str, Any] | None:
        """Returns a trial's params, or None where some still have to be drawn.

        Those of an objective are what it has asked for so far.
        """
        params = self._storage.get_trial(trial_id).params
        return dict(params) if self._spec.objective else complete(params, self._space)

    def ask(
        self,
        trial_ids: Sequence[int],
        pinned: Mapping[str, Any] = MappingProxyType({}),
        paused: Collection[int] = (),
    ) -> list[dict[str, Any]]:
        """Draws params for trials that have none, and stores them in one transaction.

        Args:
            trial_ids: The trials.
            pinned: Values that all of them get where they apply; but a grid has points of
                its own, each once.
            paused: Trials that have begun and that no worker trains now.
        """
        batch = Batch(self._storage, paused)
        params, pinned = [], {} if self._spec.sampler.name == "grid" else pinned
        for trial_id in trial_ids:
            study = self._study(self._storage.get_trial_number_from_id(trial_id), batch)
            params.append(draw(study, batch, trial_id, self._space, pinned))
        batch.deliver()
        return params

    def params(self, trial_id: int) -> dict[str, Any]:
        """Returns a trial's params, and draws and stores those that it does not have yet."""
        known = self.known(trial_id)
        return self.ask([trial_id])[0] if known is None else known

    def trials(self) -> list[FrozenTrial]:
        """Returns all trials, for reading only."""
        study_id = self._storage.get_study_id_from_name(self._study_name)
        return self._storage.get_all_trials(study_id, deepcopy=False)

    def changes(self, since: Any = None) -> Any:
        """Returns the trials that have changed since another such question, for reading only.

        Args:
            since: The ``cursor`` of the answer before; None for all trials.
        """
        storage: Any = self._storage
        return storage.changes(storage.get_study_id_from_name(self._study_name), since)

    def give(self, points: Mapping[int, Mapping[str, Any]]) -> None:
        """Stores params that a scheduler has proposed, by trial, in one transaction.

        An objective gets them when it asks for them.
        """
        batch = Batch(self._storage)
        for trial_id, point in points.items():
            if self._spec.objective:
                batch.set_trial_system_attr(trial_id, PLANNED, dict(point))
                continue
            for name, value in point.items():
                found = distribution(self._space[name])
                if found is not None:
                    batch.set_trial_param(trial_id, name, found.to_internal_repr(value), found)
        batch.deliver()

    def decides_at(self, epoch: int) -> bool:
        """Returns whether the pruner may stop a trial after an epoch, by all that were reported."""
        return decides_at(self._spec, epoch)

    def to_prune(self, trial_ids: Sequence[int]) -> set[int]:
        """Returns the trials that the pruner would stop after what they have reported."""
        if not trial_ids or len(self._spec.directions) > 1:
            return set()
        batch, wanted = Batch(self._storage), set(trial_ids)
        study = self._study(0, batch)
        pruned = {
            trial_id_of(trial)
            for trial in study.get_trials(deepcopy=False)
            if trial_id_of(trial) in wanted and self._pruner.prune(study, trial)
        }
        batch.deliver()
        return pruned

    def should_prune(self, trial_id: int) -> bool:
        """Returns whether the pruner would stop the trial after what it has reported."""
        return trial_id in self.to_prune([trial_id])

    def before_finish(self, ends: Sequence[tuple[int, TrialState, Sequence[float] | None]]) -> None:
        """Lets the sampler note what it needs before trials are settled.

        Args:
            ends: Trial, state, and values.
        """
        if not self._notes_ends:
            return
        batch = Batch(self._storage)
        for trial_id, state, values in ends:
            trial = self._storage.get_trial(trial_id)
            study = self._study(trial.number, batch)
            study.sampler.after_trial(study, trial, state, values)
        batch.deliver()

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

    @cached_property
    def _notes_ends(self) -> bool:
        return notes_ends(self._sampler_of(0))

    def _study(self, number: int, storage: Any = None) -> optuna.Study:
        # A new object each time: Optuna's keeps a list of trials that only its own loop renews.
        sampler = self._sampler_of(number)
        return optuna.Study(self._study_name, storage or self._storage, sampler, self._pruner)
