"""Samplers by name; and the grid sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from hpo.errors import SpecError
from hpo.optuna_internals import share_search_space
from hpo.search.base.auto import AUTO, choose
from hpo.search.base.derived_seeds import mix
from hpo.search.optuna.experimental import quietly
from hpo.search.optuna.inferred_space import known_space
from hpo.search.optuna.qmc_sampler import QmcSampler
from hpo.spec.space.finite_space import grid_points
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.study_spec import StudySpec

if TYPE_CHECKING:
    # Brings torch, which Optuna's samplers do without.
    from hpo.search.model.portfolio import Portfolio

SamplerOf: TypeAlias = Callable[[int], BaseSampler]


class GridSampler(BaseSampler):
    """The n-th trial gets the n-th point of the grid.

    Optuna's own grid sampler picks among the points that it believes unvisited, so that parallel
    workers may visit one twice and another never. Here the trial's number decides.

    Args:
        space: A finite space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._points = grid_points(space)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns nothing: conditional points are looked up parameter by parameter."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns nothing: see ``infer_relative_search_space``."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns the parameter's value at the trial's point of the grid.

        Raises:
            SpecError: The objective asks for a parameter that the grid does not have there.
        """
        point = self._points[trial.number % len(self._points)]
        if point.get(param_name) is None:
            raise SpecError(f"the grid has no {param_name} at this point; [space] must have it")
        return point[param_name]


def sampler_factory(spec: StudySpec, portfolio: Portfolio | None = None) -> SamplerOf:
    """Returns what builds the sampler that proposes the params of the trial with a number.

    Its random numbers follow from the study's seed and the trial's number alone: who asks, and
    how often the study was stopped and continued in between, changes nothing, and no two trials
    draw from the same stream.

    Args:
        spec: The study.
        portfolio: First points for our own model; those that come with the package by default.
    """
    name = spec.sampler.name
    build = _auto(spec, portfolio) if name == AUTO else SAMPLERS[name](spec)

    def sampler_of(number: int) -> BaseSampler:
        with quietly():
            return build(mix(spec.seed, number))

    return sampler_of


def notes_ends(sampler: BaseSampler) -> bool:
    """Returns whether a sampler notes something of a trial that ends.

    Most of Optuna's note only how far constraints were violated, and no study here has any.
    """
    return type(sampler).after_trial not in _NO_NOTES


_NO_NOTES = frozenset(
    kind.after_trial for kind in (BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler)
)


def _grid(spec: StudySpec) -> SamplerOf:
    sampler = GridSampler(spec.space)
    return lambda seed: sampler


def _qmc(spec: StudySpec) -> SamplerOf:
    # Points of one sequence, which belongs to the study: each trial takes its own by its number.
    with quietly():
        sampler = QmcSampler(spec.seed, **spec.sampler.options)
    return lambda seed: sampler


def _auto(spec: StudySpec, portfolio: Portfolio | None = None) -> SamplerOf:
    chosen = choose(spec, can_pause=False).sampler
    if chosen != AUTO:
        return SAMPLERS[chosen](spec)
    # Brings torch, which other samplers do without.
    from hpo.search.model.freeze_thaw import settings_of
    from hpo.search.optuna.model_sampler import ModelSampler

    # It seeds itself by the trial's number, and remembers what it has learnt.
    settings = settings_of(spec, portfolio=portfolio)
    sampler = ModelSampler(seed=spec.seed, space=known_space(spec), settings=settings)
    return lambda seed: sampler


def _cmaes(spec: StudySpec) -> SamplerOf:
    # Brings SciPy, which takes long to load.
    from hpo.search.optuna.cma_sampler import CmaSampler

    sampler = CmaSampler(seed=spec.seed, **spec.sampler.options)
    return lambda seed: sampler


def _seeded(cls: type[BaseSampler], **defaults: Any) -> Callable[[StudySpec], SamplerOf]:
    def factory(spec: StudySpec) -> SamplerOf:
        options = {**defaults, **spec.sampler.options}
        return lambda seed: cls(seed=seed, **options)  # type: ignore[call-arg]

    return factory


def _tpe(spec: StudySpec) -> SamplerOf:
    build = _seeded(TPESampler)(spec)
    # Each trial has a sampler of its own; what all trials have in common need not be found out
    # for each of them again.
    common = IntersectionSearchSpace(include_pruned=True)

    def sampler_of(seed: int) -> BaseSampler:
        sampler = build(seed)
        share_search_space(sampler, common)
        return sampler

    return sampler_of


SAMPLERS: dict[str, Callable[[StudySpec], SamplerOf]] = {
    "auto": _auto,
    "random": _seeded(RandomSampler),
    "grid": _grid,
    "qmc": _qmc,
    "tpe": _tpe,
    "gp": _seeded(GPSampler, warn_independent_sampling=False),
    "cmaes": _cmaes,
    "nsga2": _seeded(NSGAIISampler),
    "nsga3": _seeded(NSGAIIISampler),
}
