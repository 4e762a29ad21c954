"""Held-out metrics: those on test data, which stand among a trial's user attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PREFIX: Final = "test_"


def test_metrics(user_attrs: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics on test data: numbers whose names begin with ``test_``."""
    return {name: value for name, value in user_attrs.items() if _is_one(name, value)}


def without_test(user_attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the other attributes."""
    return {name: value for name, value in user_attrs.items() if not _is_one(name, value)}


def _is_one(name: str, value: Any) -> bool:
    return name.startswith(PREFIX) and type(value) in (int, float)
