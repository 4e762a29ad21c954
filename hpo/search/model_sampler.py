"""The model of freeze-thaw behind Optuna's interfaces: for objectives, and for Optuna itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from hpo.search.decisions import Ask, Note
from hpo.search.distributions import distribution
from hpo.search.encoding import Encoder
from hpo.search.freeze_thaw import FreezeThaw, Settings
from hpo.search.reading import curves_of, searched
from hpo.spec.space import SearchSpace

_ANY_SEED = 2**31
_FRESH = 1.25


class _Recollection:
    """What the model has learnt before, but for when it should look at everything afresh.

    Going on from hyperparameters that explained few trials it may never leave them, though others
    explain all trials far better: then it takes what it sees for noise.
    """

    def __init__(self) -> None:
        self._fresh_at = 0
        self.memory: Note = {}

    def at(self, number: int) -> Note:
        """Returns the memory for the decision about a trial."""
        if number >= self._fresh_at:
            self._fresh_at = int(number * _FRESH) + 1
            self.memory = {}
        return self.memory


class ModelSampler(BaseSampler):
    """Proposes params by a Gaussian process over params and steps.

    Args:
        seed: What its random numbers follow from, with the number of the trial; None for chance.
        space: The parameters and their conditions, where they are known beforehand. Else those
            that all complete trials have are modelled, and the others drawn at random.
        settings: How to search, but for the seed.
    """

    def __init__(
        self,
        seed: int | None = None,
        space: SearchSpace | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._space = space
        self._settings = settings or Settings()
        self._independent = RandomSampler(seed=seed)
        self._seed = _by_chance() if seed is None else seed
        self._known = _Recollection()

    def reseed_rng(self) -> None:
        """Takes another seed, by chance."""
        self._independent.reseed_rng()
        self._seed = _by_chance()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the parameters that are modelled."""
        if self._space is None:
            return searched(study)
        kinds = {name: distribution(self._space[name]) for name in self._space.order()}
        return {name: kind for name, kind in kinds.items() if kind is not None}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the modelled parameters that apply.

        Raises:
            ValueError: The study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        encoder = _encoder(self._space, search_space)
        model = FreezeThaw(encoder, replace(self._settings, seed=self._seed))
        curves, _ = curves_of(study, encoder)
        ask = Ask(1, memory=self._known.at(trial.number))
        points, self._known.memory = model.propose(curves, [trial.number], ask)
        if points and points[0] is not None:
            return dict(points[0])
        # Every point of a finite space was proposed: any may come again.
        draw = self._independent.sample_independent
        return {name: draw(study, trial, name, kind) for name, kind in search_space.items()}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns a random value for a parameter that is not modelled yet.

        Raises:
            ValueError: The study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


class ModelPruner(BasePruner):
    """Stops a trial that will hardly become the best one, by the same model.

    Args:
        space: The parameters and their conditions, where they are known beforehand.
        settings: How to search.
    """

    def __init__(self, space: SearchSpace | None = None, settings: Settings | None = None) -> None:
        self._space = space
        self._settings = settings or Settings()
        self._known = _Recollection()

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Tells whether to stop a trial after what it has reported."""
        kinds = searched(study)
        if trial.last_step is None or not (kinds or self._space):
            return False
        encoder = _encoder(self._space, kinds)
        curves, epochs = curves_of(study, encoder)
        if trial.last_step not in epochs:
            return False
        model = FreezeThaw(encoder, self._settings)
        memory = self._known.at(trial.number)
        hopeless, self._known.memory = model.hopeless(curves, [trial.number], memory)
        return hopeless[0]


def _encoder(space: SearchSpace | None, kinds: Mapping[str, BaseDistribution]) -> Encoder:
    return Encoder.of_distributions(kinds) if space is None else Encoder.of_space(space)


def _by_chance() -> int:
    return int(np.random.default_rng().integers(_ANY_SEED))
