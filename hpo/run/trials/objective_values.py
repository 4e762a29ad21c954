"""Objective values: the numbers that an objective returns, or why they cannot be used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from hpo.tracebacks import shown


@dataclass(frozen=True)
class Returned:
    """The values of an objective.

    Attributes:
        values: One a direction; None where they cannot be used.
        reason: ``nan`` or ``user_code``; empty for values that can be used.
        message: Why they cannot.
        n_values: How many there are, where that is not as many as the study has directions.
    """

    values: tuple[float, ...] | None
    reason: str = ""
    message: str = ""
    n_values: int | None = None


def judged(result: Any, n_expected: int) -> Returned:
    """Reads what an objective has returned; its own code may run, and raise.

    Args:
        result: Anything: a number, a NumPy scalar, a tensor of one, or a sequence of them.
        n_expected: Directions of the study.
    """
    is_several = isinstance(result, Sequence) and not isinstance(result, str | bytes)
    raw = tuple(result) if is_several else (result,)
    try:
        values = tuple(float(value) for value in raw)
    except Exception:  # noqa: BLE001 - each kind of tensor refuses in its own way
        n_values = _n_of_array(result)
        if n_values > 1:
            told = wrong_array(n_values, n_expected)
            return Returned(None, "user_code", told, n_values if n_values != n_expected else None)
        message = f"the objective returned {shown(result)}; a number is needed"
        return Returned(None, "user_code", message)
    if len(values) != n_expected:
        return Returned(
            None, "user_code", wrong_count(len(values), n_expected), len(values) or None
        )
    if any(math.isnan(value) for value in values):
        return Returned(None, "nan", "the objective returned NaN")
    return Returned(values)


def _n_of_array(result: Any) -> int:
    """Returns how many values an array or a tensor of one dimension has; 0 for anything else."""
    try:
        (n_values,) = result.shape
        return int(n_values)
    except Exception:  # noqa: BLE001 - whatever has a shape that is none
        return 0


def wrong_array(n_values: int, n_directions: int) -> str:
    """Returns what to do about an array: Optuna takes several values from a sequence only."""
    said = f"the objective returned an array of {n_values} values"
    advice = f"return a tuple or list of {n_values} numbers"
    if n_values == n_directions:
        return f"{said}; {advice}"
    has = f"the study has {_counted(n_directions, 'direction')}"
    return f"{said}; {has}: {advice}, and {_naming(n_values, 'a direction')}"


def wrong_count(n_values: int, n_directions: int) -> str:
    """Returns what is wrong with a number of values, and what to do about it."""
    said = f"the objective returned {_counted(n_values, 'value')}; the study has "
    if n_values == 0:
        return f"{said}{_counted(n_directions, 'direction')}"
    return f"{said}{_counted(n_directions, 'direction')}: {_naming(n_values)}"


def _naming(n_values: int, what: str = "one") -> str:
    options = islice(cycle(("--direction minimize", "--direction maximize")), n_values)
    return f"name {what} for each value, such as {' '.join(options)}"


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
