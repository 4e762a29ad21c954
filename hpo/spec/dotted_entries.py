"""Dotted entries: ``space.depth.high=8`` as an entry of a study's table. Pure functions."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any, Final

from hpo.errors import Problem, SpecError

_EXAMPLE: Final = "space.learning_rate.high=0.1"
_PLAIN: Final = (str, int, float, bool, list, dict)


def read_entries(texts: Iterable[str], source: str = "--set") -> dict[str, Any]:
    """Reads entries of a study file, each written as its key, an equals sign and its value.

    A value is TOML: ``8``, ``0.1``, ``true``, ``[32, 64]``; anything else is text.

    Args:
        texts: ``KEY=VALUE``; a later one replaces an earlier one of the same key.
        source: Their origin, for the headline of an error.

    Returns:
        Nested tables, as `hpo.spec.toml.parse` takes them for overrides.

    Raises:
        SpecError: Some are no such entries; it names them all.
    """
    table: dict[str, Any] = {}
    problems = []
    for text in texts:
        key, equals, value = text.partition("=")
        path = _path(key.strip()) if equals else []
        if not path:
            problems.append(Problem(text or "''", f"must be KEY=VALUE, such as {_EXAMPLE}"))
        elif not value.strip():
            problems.append(Problem(text, "has no value"))
        elif not _put(table, path, _value(value.strip())):
            problems.append(Problem(text, "is below a key that another entry gives a value"))
    if problems:
        raise SpecError(source=source, problems=problems)
    return table


def _path(key: str) -> list[str]:
    """Returns the parts of a dotted key, which may be quoted; none if it is no key of TOML."""
    try:
        found: Any = tomllib.loads(f"{key} = 0")
    except (ValueError, RecursionError):
        return []
    path = []
    while isinstance(found, dict):
        if len(found) != 1:
            return []
        ((name, found),) = found.items()
        path.append(name)
    return path


def _value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = table["value"]
    # A date without quotes is a text in a study.
    return value if len(table) == 1 and isinstance(value, _PLAIN) else text


def _put(table: dict[str, Any], path: list[str], value: Any) -> bool:
    *parents, last = path
    below: Any = table
    for name in parents:
        below = below.setdefault(name, {})
        if not isinstance(below, dict):
            return False
    below[last] = value
    return True
