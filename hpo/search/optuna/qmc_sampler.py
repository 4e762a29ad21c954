"""QMC sampler: each trial has its own point of a quasi-random sequence, by its number."""

from __future__ import annotations

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import QMCSampler
from optuna.trial import FrozenTrial

from hpo.search.base.independent_draws import Independent


class QmcSampler(QMCSampler):
    """Optuna's, but for who gets which point.

    Optuna's counts points in the study's attributes, so that workers that ask at the same time get
    the same one. Here the trial's number decides.

    Args:
        seed: The study's.
        **options: Optuna's.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(seed=seed, warn_independent_sampling=False, **options)
        self._independent = Independent(seed)
        self._number = 0

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the trial's point."""
        self._number = trial.number
        return super().sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns a random value for a parameter that the first trial did not have."""
        return self._independent.draw(study, trial, param_name, param_distribution)

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number
