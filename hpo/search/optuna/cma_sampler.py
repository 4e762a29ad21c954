"""CMA-ES without a stored state: its state follows from the study's trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from cmaes import CMA
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.search.base.coordinates import Floats
from hpo.search.base.derived_seeds import mix
from hpo.search.base.independent_draws import Independent
from hpo.search.base.param_encoding import Encoder
from hpo.search.optuna.study_curves import common_search_space

_SIGMA = 1.0 / 6.0
_ANY_SEED = 2**31


class CmaSampler(BaseSampler):
    """The covariance matrix adaptation evolution strategy, over numbers.

    Optuna's own keeps its state as a pickle in the database, where anyone who may write could run
    code on every worker. This one replays the trials, in the order of their numbers: as many as a
    population has make a generation. Categorical parameters are drawn at random.

    Source: Hansen, "The CMA Evolution Strategy: A Tutorial", 2016.

    Args:
        seed: What its random numbers follow from, with the number of the trial; None for chance.
        n_startup_trials: Trials that are drawn at random before.
        sigma0: First step size, in shares of each range.
        popsize: Trials of a generation; None for the usual number.
        consider_pruned_trials: Whether trials that were stopped count, with their last value.
    """

    def __init__(
        self,
        seed: int | None = None,
        n_startup_trials: int = 1,
        sigma0: float = _SIGMA,
        popsize: int | None = None,
        consider_pruned_trials: bool = False,
    ) -> None:
        self._n_initial = n_startup_trials
        self._sigma = sigma0
        self._popsize = popsize
        self._states = [TrialState.COMPLETE]
        if consider_pruned_trials:
            self._states.append(TrialState.PRUNED)
        self._seed = _by_chance() if seed is None else seed

    def reseed_rng(self) -> None:
        """Takes another seed, by chance."""
        self._seed = _by_chance()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the parameters that all complete trials have."""
        return common_search_space(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns a point of the present generation, its categorical parameters random.

        Raises:
            ValueError: The study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        numbers, choices = _split(search_space)
        points, losses = self._seen(study, numbers)
        if len(points) < self._n_initial:
            return {}
        seed = mix(self._seed, trial.number)
        units = np.random.default_rng(seed).random((1, len(choices)))
        drawn = choices.decode(choices.snap(units * choices.n_choices))[0]
        if len(numbers):
            row = self._replayed(points, losses, seed).ask()[None]
            drawn |= numbers.decode(numbers.snap(row))[0]
        return drawn

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns a random value for a parameter that the strategy does not see.

        Raises:
            ValueError: The study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        draw = Independent(self._seed).draw
        return draw(study, trial, param_name, param_distribution)

    def _seen(self, study: Study, encoder: Encoder) -> tuple[Floats, Floats]:
        """Returns points, [N, P], and values to be minimised, [N], by number of trial."""
        trials = study.get_trials(deepcopy=False, states=tuple(self._states))
        trials = sorted((t for t in trials if t.value is not None), key=lambda one: one.number)
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        points = encoder.encode([trial.params for trial in trials])
        losses = np.array([sign * (trial.value or 0.0) for trial in trials])
        known = ~np.isnan(points).any(axis=1) & np.isfinite(losses)
        return points[known], losses[known]

    def _replayed(self, points: Floats, losses: Floats, seed: int) -> CMA:
        n_columns = points.shape[1]
        bounds = np.tile([0.0, 1.0], (n_columns, 1))
        strategy = CMA(
            mean=np.full(n_columns, 0.5),
            sigma=self._sigma,
            bounds=bounds,
            n_max_resampling=10 * n_columns,
            seed=seed,
            population_size=self._popsize,
        )
        size = strategy.population_size
        for begin in range(0, len(points) - size + 1, size):
            part = slice(begin, begin + size)
            strategy.tell(list(zip(points[part], losses[part].tolist(), strict=True)))
        return strategy


def _split(kinds: Mapping[str, BaseDistribution]) -> tuple[Encoder, Encoder]:
    """Returns the encoders of the numbers and of the categorical parameters."""
    chosen = {n: k for n, k in kinds.items() if isinstance(k, CategoricalDistribution)}
    numbers = {name: kind for name, kind in kinds.items() if name not in chosen}
    return Encoder.of_distributions(numbers), Encoder.of_distributions(chosen)


def _by_chance() -> int:
    return int(np.random.default_rng().integers(_ANY_SEED))
