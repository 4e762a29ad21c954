"""Findings: all mistakes of a study, collected while it is read, each under its dotted key."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hpo.errors import Problem, SpecError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MAX_SHOWN = 60
_DEEPEST_KEY = 4


class Findings:
    """Collects problems below one key, so that reading continues after a mistake.

    Args:
        prefix: Keys that lead to the value being read.
        problems: The list to which mistakes are added; shared by every ``below``.
    """

    def __init__(self, prefix: tuple[str, ...] = (), problems: list[Problem] | None = None) -> None:
        self._prefix = prefix
        self.problems: list[Problem] = [] if problems is None else problems

    def below(self, *keys: str) -> Findings:
        """Returns findings that fill the same list under a longer key."""
        return Findings((*self._prefix, *keys), self.problems)

    def add(self, message: str, *keys: str) -> None:
        """Records one mistake at ``keys`` below the prefix."""
        self.problems.append(Problem(dotted(*self._prefix, *keys), message))

    def raise_if_any(self, source: str, table: Any = None) -> None:
        """Raises all mistakes as one error, if there are any.

        Args:
            source: Name of the input, for the headline.
            table: The input, for the order of the problems.

        Raises:
            SpecError: There are problems; it carries all of them.
        """
        if self.problems:
            problems = in_file_order(self.problems, table if isinstance(table, Mapping) else {})
            raise SpecError(source=source, problems=problems)


def dotted(*keys: str) -> str:
    """Joins keys as TOML writes them: ``space."my key"``."""
    return ".".join(quoted_key(key) for key in keys)


def quoted_key(key: str) -> str:
    """Returns a key as TOML writes it: bare where that is allowed."""
    return key if _BARE_KEY.fullmatch(key) else quoted(key)


def quoted(text: str) -> str:
    """Returns text as a TOML basic string."""
    # JSON escapes all that TOML requires, except the delete character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def show(value: Any) -> str:
    """Returns a value for a message: on one line, as TOML writes it, shortened."""
    match value:
        case bool():
            shown = "true" if value else "false"
        case int() if abs(value) >= 2**63:
            shown = "a number of more than 64 bits"
        case str():
            shown = quoted(value[:_MAX_SHOWN])
        case dt.date() | dt.time():
            shown = value.isoformat()
        case Mapping():
            shown = "a table"
        case list() | tuple():
            shown = f"[{', '.join(_show_item(item) for item in value[:_MAX_SHOWN])}]"
        case _:
            shown = repr(value)
    # A lone surrogate could not be printed.
    shown = shown.encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."


def listed(values: Iterable[Any], last: str) -> str:
    """Returns ``"a", "b" or "c"`` for values and the word before the last one."""
    *others, final = [show(value) for value in values]
    return f"{', '.join(others)} {last} {final}" if others else final


def in_file_order(problems: Iterable[Problem], table: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Sorts problems by the position of their keys in the input; missing keys come last."""
    places: dict[str, int] = {}
    _number_keys(table, (), places)

    def place(problem: Problem) -> int:
        # The key itself, or the innermost table around it that exists.
        key = problem.key
        while key not in places and "." in key:
            key = key.rpartition(".")[0]
        return places.get(key, len(places))

    return tuple(sorted(problems, key=place))


def _number_keys(table: Mapping[str, Any], prefix: tuple[str, ...], places: dict[str, int]) -> None:
    for key, value in table.items():
        path = (*prefix, str(key))
        places.setdefault(dotted(*path), len(places))
        if isinstance(value, Mapping) and len(path) < _DEEPEST_KEY:
            _number_keys(value, path, places)


def _show_item(item: Any) -> str:
    if isinstance(item, Mapping):
        return "{...}"
    return "[...]" if isinstance(item, list | tuple) else show(item)
