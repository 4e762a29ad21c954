"""Distributions: Optuna's, made from the study's search space."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.spec.space.dimensions import last_step
from hpo.spec.space.points import complete as complete
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, Parameter, SearchSpace


def distribution(parameter: Parameter) -> BaseDistribution | None:
    """Returns Optuna's distribution of a parameter; None for a fixed one, which is never drawn."""
    match parameter:
        case Float():
            high = last_step(parameter.low, parameter.high, parameter.step)
            return FloatDistribution(parameter.low, high, log=parameter.log, step=parameter.step)
        case Int():
            step = parameter.step or 1
            high_int = int(last_step(parameter.low, parameter.high, step))
            return IntDistribution(parameter.low, high_int, log=parameter.log, step=step)
        case Categorical():
            return CategoricalDistribution(parameter.choices)
        case Fixed():
            return None


def suggest(
    trial: Trial, space: SearchSpace, given: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Draws one point for ``trial``: parents before children, inactive parameters left out.

    A trial that already has params (enqueued, or continued after its worker died) keeps them.

    Args:
        trial: The trial whose params are drawn and stored.
        space: Where they are drawn from.
        given: Values that are not drawn.

    Returns:
        Value of every active parameter, the fixed ones included.
    """
    params: dict[str, Any] = {}
    for name in space.order():
        if space.is_active(name, params):
            drawn = name not in given
            params[name] = _suggest_one(trial, name, space[name]) if drawn else given[name]
    return params


def _suggest_one(trial: Trial, name: str, parameter: Parameter) -> Any:
    match distribution(parameter):
        case FloatDistribution() as d:
            return trial.suggest_float(name, d.low, d.high, log=d.log, step=d.step)
        case IntDistribution() as d:
            return trial.suggest_int(name, d.low, d.high, log=d.log, step=d.step)
        case CategoricalDistribution() as d:
            return trial.suggest_categorical(name, d.choices)
        case _:
            assert isinstance(parameter, Fixed)
            return parameter.value
