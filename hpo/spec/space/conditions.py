"""Conditions between parameters: the drawing order, and checks for conditions that never hold."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping

from hpo.errors import did_you_mean
from hpo.spec.space.dimensions import Categorical, Fixed, Float, Parameter
from hpo.spec.values.findings import Findings, listed, show
from hpo.spec.values.user_values import Scalar


def parents_first(parameters: Mapping[str, Parameter]) -> list[str]:
    """Orders names so that parents precede children, otherwise as in the space.

    Returns:
        The names, without those in a cycle, below one, or with an unknown parent.
    """
    names = list(parameters)
    waits_for = {name: set(parameters[name].when) for name in names}
    children: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        for parent in waits_for[name]:
            children.setdefault(parent, []).append(place)
    ready = [place for place, name in enumerate(names) if not waits_for[name]]
    order: list[str] = []
    while ready:
        parent = names[heapq.heappop(ready)]
        order.append(parent)
        for place in children.get(parent, []):
            waits_for[names[place]].discard(parent)
            if not waits_for[names[place]]:
                heapq.heappush(ready, place)
    return order


def check_conditions(
    parameters: Mapping[str, Parameter], names: Collection[str], findings: Findings
) -> None:
    """Records conditions that no params can meet.

    Args:
        parameters: The valid parameters.
        names: The names of all parameters, including invalid ones.
        findings: Collects the mistakes, below the space's key.
    """
    for name, parameter in parameters.items():
        for parent, allowed in parameter.when.items():
            at = findings.below(name, "when", parent)
            if parent not in names:
                at.add(f"no such parameter{did_you_mean(parent, names)}")
            elif parent in parameters and parent != name:
                _check_values(parent, parameters[parent], allowed, at)
    for cycle in _cycles(parameters):
        if len(cycle) == 1:
            findings.add("cannot depend on itself", cycle[0])
        else:
            around = " -> ".join([*cycle, cycle[0]])
            findings.add(f"the conditions go round in a circle: {around}", cycle[0])


def _check_values(
    name: str, parent: Parameter, allowed: Collection[Scalar], findings: Findings
) -> None:
    if isinstance(parent, Float):
        findings.add(f"a condition needs countable values; {name} is a real number")
        return
    for value in allowed:
        if not parent.contains(value):
            findings.add(f"{name} is never {show(value)}; {_possible(parent, value)}")


def _possible(parent: Parameter, wrong: Scalar) -> str:
    match parent:
        case Categorical(choices=choices):
            words = [choice for choice in choices if isinstance(choice, str)]
            hint = did_you_mean(wrong, words) if isinstance(wrong, str) else ""
            return hint.removeprefix("; ") or f"it is {listed(choices, 'or')}"
        case Fixed(value=value):
            return f"it is fixed at {show(value)}"
        case _:
            in_steps = f" in steps of {parent.step}" if parent.step else ""
            return f"it goes from {parent.low} to {parent.high}{in_steps}"


def _cycles(parameters: Mapping[str, Parameter]) -> list[list[str]]:
    """Returns the cycles of conditions, each once, from its first member in the space."""
    placed = set(parents_first(parameters))
    places = {name: place for place, name in enumerate(parameters)}
    cycles: list[list[str]] = []
    seen: set[str] = set()
    for start in parameters:
        trail: list[str] = []
        name: str | None = start if start not in placed else None
        while name is not None and name not in seen:
            seen.add(name)
            trail.append(name)
            # An unplaced parameter has an unplaced parent; a missing parent ends the trail.
            waiting = (p for p in parameters[name].when if p in parameters and p not in placed)
            name = next(waiting, None)
        if name in trail:
            cycle = trail[trail.index(name) :]
            first = min(range(len(cycle)), key=lambda i: places[cycle[i]])
            cycles.append(cycle[first:] + cycle[:first])
    return cycles
