"""User-defined values: choices, fixed values and task options, whose kind the user decides."""

from __future__ import annotations

import datetime as dt
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from hpo.spec.values.findings import Findings, show
from hpo.spec.values.kinds import WRONG, Number, ValueKind, Whole, wrong

Scalar: TypeAlias = bool | int | float | str

_MAX_DEPTH: Final = 16
_ZERO: Final = dt.timedelta(0)


@dataclass(frozen=True)
class AnyScalar:
    """Any single TOML value except dates: text, a finite number, true or false."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns a bool, int, finite float or text, or ``WRONG``."""
        match value:
            case bool():
                return value
            case str() if _is_utf8(value):
                return value
            case numbers.Integral():
                return Whole(-(2**63)).read(value, findings)
            case numbers.Real():
                return Number().read(value, findings)
        wanted = "must be text, a number, true or false"
        return wrong(findings, f"{wanted}; found {show(value)}")


@dataclass(frozen=True)
class Scalars:
    """A list of different single values, read as a tuple.

    Args:
        bare: Whether a single value without a list is accepted.
    """

    bare: bool = False

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns a tuple of different scalars, or ``WRONG``."""
        if not isinstance(value, list | tuple):
            if not self.bare:
                return wrong(findings, f"must be a list of values; found {show(value)}")
            value = [value]
        if not value:
            return wrong(findings, "must not be an empty list")
        read = [AnyScalar().read(item, findings) for item in value]
        if any(item is WRONG for item in read):
            return WRONG
        # Optuna tells choices apart with ==, for which 1, 1.0 and true are the same.
        for i, item in enumerate(read):
            if item in read[:i]:
                return wrong(findings, f"must differ from each other; {_twice(item, read[:i])}")
        return tuple(read)


def _twice(item: Scalar, before: Sequence[Scalar]) -> str:
    first = before[before.index(item)]
    if type(first) is type(item):
        return f"{show(item)} stands twice"
    return f"{show(first)} and {show(item)} count as equal"


@dataclass(frozen=True)
class AnyToml:
    """Any TOML value; tuples are read as lists and paths as text."""

    depth: int = 0

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns plain values that TOML can hold, or ``WRONG``."""
        inner = AnyToml(self.depth + 1)
        if self.depth > _MAX_DEPTH:
            return wrong(findings, f"is nested more than {_MAX_DEPTH} tables deep")
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        match value:
            case float() if math.isinf(value):
                return value
            case dt.date() | dt.time() if _is_toml_time(value):
                return value
            case list() | tuple():
                items = [inner.read(item, findings) for item in value]
                return WRONG if any(item is WRONG for item in items) else items
            case Mapping():
                return _read_mapping(value, inner, findings)
        return AnyScalar().read(value, findings)


def _read_mapping(table: Mapping[Any, Any], kind: ValueKind, findings: Findings) -> Any:
    values: dict[str, Any] = {}
    for key, value in table.items():
        if not isinstance(key, str) or not _is_utf8(key):
            return wrong(findings, f"keys must be text; found {show(key)}")
        values[key] = kind.read(value, findings.below(key))
    return WRONG if any(value is WRONG for value in values.values()) else values


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_toml_time(value: dt.date | dt.time) -> bool:
    """Returns whether TOML can write a time: an offset only with a date, and in whole minutes."""
    if isinstance(value, dt.datetime):
        offset = value.utcoffset() or _ZERO
        return offset % dt.timedelta(minutes=1) == _ZERO
    return not isinstance(value, dt.time) or value.tzinfo is None
