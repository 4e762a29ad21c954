"""Model sampler: the default of objectives, a Gaussian process over params."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.search.base.coordinates import Coordinate
from hpo.search.base.derived_seeds import mix
from hpo.search.base.distributions import distribution
from hpo.search.base.independent_draws import Independent
from hpo.search.base.param_encoding import Encoder, Point
from hpo.search.model.candidates import Candidates
from hpo.search.model.freeze_thaw import Settings
from hpo.search.optuna.inferred_space import encoder_of, inferred_distributions
from hpo.search.optuna.study_curves import finished_curves
from hpo.spec.space.search_space import SearchSpace

_ANY_SEED = 2**31
_MOST_UNDRAWN = 8
# As a share of a range: too close to tell the values apart.
_NEAREST = 1e-6


class ModelSampler(BaseSampler):
    """Proposes params by a Gaussian process over params, of the values of trials at the end.

    What a trial reported before counts only where it was stopped or still runs. Objectives cannot
    pause, so the model has no use for whole curves; with them in it, it may become sure of a wrong
    effect of the params, and propose the same corner of the space again and again.

    Args:
        seed: What its random numbers follow from, with the number of the trial; None for chance.
        space: The parameters and their conditions, where they are known beforehand. An empty one
            is found by what the trials ask for.
        settings: How to search, but for the seed.
    """

    def __init__(
        self,
        seed: int | None = None,
        space: SearchSpace | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._space = space or SearchSpace()
        self._settings = settings or Settings()
        self._seed = _by_chance() if seed is None else seed

    def reseed_rng(self) -> None:
        """Takes another seed, by chance."""
        self._seed = _by_chance()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the parameters that are modelled."""
        if not self._space:
            return inferred_distributions(study.get_trials(deepcopy=False))
        kinds = {name: distribution(self._space[name]) for name in self._space.order()}
        return {name: kind for name, kind in kinds.items() if kind is not None}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the modelled parameters that seem to apply.

        Raises:
            ValueError: The study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        trials = study.get_trials(deepcopy=False)
        encoder = encoder_for(self._space, search_space, trials)
        curves = finished_curves(trials, encoder, sign_of(study))
        numbers = [*_undrawn_before(trial, trials), trial.number]
        # Brings SciPy, which takes long to load.
        from hpo.search.model.value_search import ValueSearch, final_values

        model = ValueSearch(encoder, self._seed, self._settings.n_initial)
        own = model.propose(final_values(curves), numbers)[-1]
        if own is None:
            # Where every point of a finite space was proposed, any may come again.
            rng = np.random.default_rng(mix(self._seed, trial.number))
            own = encoder.decode(Candidates(encoder, rng).anywhere(1))[0]
        return self._off_the_ends(own, search_space, trial.number)

    def _off_the_ends(
        self, point: Point, kinds: Mapping[str, BaseDistribution], number: int
    ) -> Point:
        """Returns a point whose real numbers are not exactly at an end of their ranges.

        Several workers may propose the same corner at once; so close to it, each has its own point.
        """
        shares = np.random.default_rng(mix(self._seed, number)).random(len(kinds))
        moved = dict(point)
        for (name, kind), share in zip(kinds.items(), shares, strict=True):
            if name in point and isinstance(kind, FloatDistribution) and kind.step is None:
                column = Coordinate.of(name, kind)
                at = column.encode(point[name])
                inner = min(max(at, _NEAREST * share), 1.0 - _NEAREST * share)
                moved[name] = point[name] if inner == at else column.decode(inner)
        return moved

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
        draw = Independent(self._seed).draw
        return draw(study, trial, param_name, param_distribution)


def encoder_for(
    space: SearchSpace, kinds: Mapping[str, BaseDistribution], trials: Sequence[FrozenTrial]
) -> Encoder:
    """Returns the encoder of a study's parameters: of its space, or of what trials asked for."""
    return Encoder.of_space(space) if space else encoder_of(kinds, trials)


def _undrawn_before(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> list[int]:
    """Returns the numbers of earlier trials that other workers draw params for right now.

    What they will most likely get is counted as pending.
    """
    undrawn = [t.number for t in trials if t.state == TrialState.RUNNING and not t.distributions]
    return sorted(number for number in undrawn if number < trial.number)[-_MOST_UNDRAWN:]


def sign_of(study: Study) -> float:
    """Returns 1 where larger values are better, else -1."""
    return 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0


def _by_chance() -> int:
    return int(np.random.default_rng().integers(_ANY_SEED))
