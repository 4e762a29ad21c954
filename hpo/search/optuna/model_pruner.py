"""Model pruner: stops trials of objectives that will hardly win, by the model of freeze-thaw."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final

from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from hpo.search.base.curves import Ints
from hpo.search.base.decisions import Note
from hpo.search.model.freeze_thaw import FreezeThaw, Settings
from hpo.search.optuna.inferred_space import inferred_distributions
from hpo.search.optuna.model_sampler import encoder_for, sign_of
from hpo.search.optuna.reported_values import Reports
from hpo.search.optuna.study_curves import epoch_before, epoch_of, reported_curves
from hpo.spec.space.search_space import SearchSpace


@dataclass(frozen=True)
class ModelPrunerSettings:
    """Settings of the pruner.

    ``tests/unit/search/optuna/test_model_pruner.py`` holds what is stopped, and how often the model
    is fitted.

    Attributes:
        min_reported: No trial is stopped before more than so many have reported.
        growth: Rungs move with what others report: a trial that has so many times as many reports
            as at the last check is worth another one.
        max_checks: Trials of which the last check is kept.
        refit_factor: The hyperparameters are fitted from the hyperprior again when there are so
            many times as many trials.
    """

    min_reported: int = 8
    growth: float = 1.4
    max_checks: int = 1024
    refit_factor: float = 1.25


_SETTINGS: Final = ModelPrunerSettings()


@dataclass(frozen=True)
class Check:
    """What a check of a trial tells about the next one.

    Attributes:
        steps: Those that trials had reported at.
        rungs: Epochs at which trials are judged, as counted by these steps.
        n_reports: Of the trial, at that time.
    """

    steps: Ints
    rungs: tuple[int, ...]
    n_reports: int

    def is_due_again(self, trial: FrozenTrial) -> bool:
        """Returns whether the trial's latest report is worth another check."""
        n = len(trial.intermediate_values)
        if n > self.n_reports and n >= math.ceil(_SETTINGS.growth * self.n_reports):
            return True
        before, now = (
            epoch_before(trial, self.steps),
            epoch_of(max(trial.intermediate_values), self.steps),
        )
        return any(before < rung <= now for rung in self.rungs)


class FitMemory:
    """Memory of the last fit, which is dropped now and then.

    A fit that begins with hyperparameters of few trials may never leave them, though others explain
    all trials far better: then it takes curves for noise.
    """

    def __init__(self) -> None:
        self._fresh_at = 0
        self.memory: Note = {}

    def at(self, number: int) -> Note:
        """Returns the memory for the decision about a trial."""
        if number >= self._fresh_at:
            self._fresh_at = int(number * _SETTINGS.refit_factor) + 1
            self.memory = {}
        return self.memory


class ModelPruner(BasePruner):
    """Stops a trial that will hardly become the best one, by the same model.

    It decides at rungs. Between them it does not read the other trials, but for a check now
    and then by which it learns where the rungs are.

    Args:
        space: The parameters and their conditions, where they are known beforehand. An empty one
            is found by what the trials ask for.
        settings: How to search.
    """

    def __init__(self, space: SearchSpace | None = None, settings: Settings | None = None) -> None:
        self._space = space or SearchSpace()
        self._settings = settings or Settings()
        self._fit = FitMemory()
        self._reports = Reports()
        self._checks: dict[Hashable, Check] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Returns whether to stop a trial after what it has reported."""
        if trial.last_step is None:
            return False
        # Studies number their trials alike.
        key = (trial.number, trial.datetime_start)
        check = self._checks.pop(key, None)
        if check is not None and not check.is_due_again(trial):
            self._checks[key] = check
            return False
        is_hopeless, self._checks[key] = self._checked(study, trial)
        while len(self._checks) > _SETTINGS.max_checks:
            self._checks.pop(next(iter(self._checks)))
        return is_hopeless

    def _checked(self, study: Study, trial: FrozenTrial) -> tuple[bool, Check]:
        """Returns whether to stop the trial, and when to check again."""
        trials = study.get_trials(deepcopy=False)
        steps = self._reports.steps(trials)
        default = Check(steps, (), len(trial.intermediate_values))
        if sum(bool(one.intermediate_values) for one in trials) <= _SETTINGS.min_reported:
            return False, default
        kinds = inferred_distributions(trials)
        if not kinds:
            return False, default
        encoder = encoder_for(self._space, kinds, trials)
        curves = reported_curves(trials, encoder, sign_of(study), self._reports)
        model = FreezeThaw(encoder, self._settings)
        memory, before = self._fit.at(trial.number), epoch_before(trial, steps)
        hopeless, self._fit.memory = model.hopeless(curves, [trial.number], memory, [before])
        return hopeless[0], replace(default, rungs=model.rungs(curves)[:-1])
