"""Grid sampler: every point of a finite space, each exactly once, with any number of workers."""

from __future__ import annotations

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from hpo.errors import SpecError
from hpo.spec.space.finite_space import grid_points
from hpo.spec.space.search_space import SearchSpace


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
