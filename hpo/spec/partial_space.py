"""Partial search space: what can be read of a faulty study, so that its task can be checked too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hpo.spec.space.conditions import parents_first
from hpo.spec.space.dimensions import Fixed, Float, Parameter
from hpo.spec.values.user_values import Scalar

# 2 is valid for widths, depths and channels, which most models read.
_ANY: Final = 2
_HOLDERS: Final = ("value", "low", "high", "choices")


def usable(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Returns the parameters without conditions that can never hold.

    Args:
        parameters: Parameters that are valid except for their conditions.
    """
    found = {name: _unless_impossible(one, parameters) for name, one in parameters.items()}
    placed = set(parents_first(found))
    # Parameters in a cycle of conditions, or that depend on one.
    return {
        name: one if name in placed else _with_conditions(one, {}) for name, one in found.items()
    }


def stand_in(definition: Any) -> Fixed:
    """Returns a value for an invalid parameter: one from its definition, or a default."""
    held = definition
    if isinstance(definition, Mapping):
        held = next((definition[key] for key in _HOLDERS if definition.get(key)), None)
    if isinstance(held, list | tuple) and held:
        held = held[0]
    is_value = isinstance(held, bool | int | float) or (isinstance(held, str) and held)
    return Fixed(held if is_value and _is_plain(held) else _ANY)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or abs(value) < 2**31


def _unless_impossible(one: Parameter, parameters: Mapping[str, Parameter]) -> Parameter:
    sound = {
        parent: allowed
        for parent, allowed in one.when.items()
        if _holds(parent, allowed, parameters)
    }
    return one if len(sound) == len(one.when) else _with_conditions(one, sound)


def _holds(parent: str, allowed: tuple[Scalar, ...], parameters: Mapping[str, Parameter]) -> bool:
    found = parameters.get(parent)
    if found is None or isinstance(found, Float):
        return False
    return all(found.contains(value) for value in allowed)


def _with_conditions(one: Parameter, when: Mapping[str, tuple[Scalar, ...]]) -> Parameter:
    return one.model_copy(update={"when": dict(when)})
