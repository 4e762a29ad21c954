"""Enqueued parameters of an Optuna objective, read by the distributions of its earlier trials."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.errors import did_you_mean
from hpo.optuna_internals import contains
from hpo.spec.space.points import read_point, read_scalar
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.values.findings import Findings, listed, show

logger = logging.getLogger(__name__)
_UNKNOWN = object()


def read_for_objective(
    texts: Mapping[str, str],
    space: SearchSpace,
    known: Mapping[str, Sequence[BaseDistribution]],
    findings: Findings,
) -> dict[str, Any]:
    """Reads parameter values for an objective.

    Args:
        texts: Values by name, as typed on the command line.
        space: The space that its study declares; a declared parameter takes what it allows.
        known: The distributions that its trials have used. A number outside them is accepted with
            a warning, as in Optuna.
        findings: Receives mistakes: values that no distribution of that kind can have.
    """
    params = read_point({k: v for k, v in texts.items() if k in space}, space, findings)
    for name, text in texts.items():
        if name in space:
            continue
        if name in known:
            value = _value(text, known[name][0])
            if value is _UNKNOWN:
                findings.add(f"must be {_allowed(known[name][0])}; found {show(text)}", name)
                continue
            params[name] = value
            if not any(contains(one, value) for one in known[name]):
                allowed = _allowed(known[name][0])
                logger.warning("%s = %s: trials have used %s so far", name, value, allowed)
            continue
        params[name] = read_scalar(text)
        if known:
            advice = did_you_mean(name, [*known, *space.names])
            logger.warning("no trial has used a parameter called %s yet%s", name, advice)
    return params


def _value(text: str, distribution: BaseDistribution) -> Any:
    """Returns the value of a text, or `_UNKNOWN` if trials with it would fail."""
    scalar = read_scalar(text)
    if isinstance(distribution, CategoricalDistribution):
        # Compare the text itself first: the choice "1" is not the choice 1.
        return next(
            (c for c in distribution.choices if c == text and isinstance(c, str)),
            next((c for c in distribution.choices if _is_choice(c, scalar, text)), _UNKNOWN),
        )
    if isinstance(scalar, bool | str):
        return _UNKNOWN
    try:
        number = float(scalar)
    except OverflowError:
        return _UNKNOWN
    if not math.isfinite(number):
        return _UNKNOWN
    if isinstance(distribution, IntDistribution):
        return int(scalar) if number.is_integer() else _UNKNOWN
    return number


def _is_choice(choice: Any, scalar: Any, text: str) -> bool:
    if choice is None:
        return text == "None"
    return isinstance(choice, bool) == isinstance(scalar, bool) and bool(choice == scalar)


def _allowed(distribution: BaseDistribution) -> str:
    match distribution:
        case CategoricalDistribution():
            return listed(distribution.choices, "or")
        case IntDistribution() | FloatDistribution():
            is_whole = isinstance(distribution, IntDistribution)
            kind = "a whole number" if is_whole else "a number"
            step = distribution.step
            steps = "" if step in (None, 1) else f" in steps of {show(step)}"
            return f"{kind} from {show(distribution.low)} to {show(distribution.high)}{steps}"
    raise AssertionError(distribution)
