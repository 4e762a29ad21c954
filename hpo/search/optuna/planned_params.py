"""Planned params: the point that a scheduler has chosen for a trial of an objective.

An objective asks for its parameters while it runs, so the point waits among the trial's attributes.
Params that were enqueued wait there, too, as Optuna has them, and Optuna hands those out itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

PLANNED: Final = "hpo:planned_params"
_ENQUEUED: Final = "fixed_params"


def planned_params(trial: FrozenTrial) -> Mapping[str, Any]:
    """Returns the params that a trial will have when its objective asks; empty if not known."""
    attrs = trial.system_attrs
    found = attrs.get(PLANNED) or attrs.get(_ENQUEUED)
    return found if isinstance(found, dict) else {}


class PlannedSampler(BaseSampler):
    """Gives trials the params that were planned for them, and leaves other trials to a sampler.

    A value outside of the range that the objective asks for is moved to the end of the range.

    Args:
        sampler: Draws the params of other trials, and those that a plan lacks.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler

    def reseed_rng(self) -> None:
        """Has the sampler take another seed."""
        self._sampler.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the sampler's space; an empty one for a trial with a plan."""
        if PLANNED in trial.system_attrs:
            return {}
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns what the sampler draws; nothing for a trial with a plan."""
        if PLANNED in trial.system_attrs:
            return {}
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns the planned value if the parameter can take it, else what the sampler draws."""
        planned = trial.system_attrs.get(PLANNED, {})
        if param_name in planned:
            found = _within(planned[param_name], param_distribution)
            if found:
                return found[0]
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Lets the sampler prepare."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Lets the sampler note how a trial has ended."""
        self._sampler.after_trial(study, trial, state, values)


def _within(value: Any, kind: BaseDistribution) -> tuple[Any, ...]:
    """Returns the value of a parameter that is nearest to another; nothing if it can take none."""
    if isinstance(kind, CategoricalDistribution):
        return tuple(c for c in kind.choices if type(c) is type(value) and c == value)[:1]
    assert isinstance(kind, FloatDistribution | IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ()
    inner = min(max(value, kind.low), kind.high)
    if kind.step is not None:
        inner = kind.low + round((inner - kind.low) / kind.step) * kind.step
        inner = min(inner, kind.high)
    return (int(inner) if isinstance(kind, IntDistribution) else float(inner),)
