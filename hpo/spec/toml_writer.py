"""TOML writer: tables of plain values as text, one line per entry, nested tables inline."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from hpo.spec.values.findings import quoted, quoted_key


def render(table: Mapping[str, Any]) -> str:
    """Returns the TOML text of a table.

    Single values and lists come first, then each table under its header.

    Args:
        table: Text, numbers, booleans, dates, lists and tables of them, under text keys.

    Raises:
        TypeError: A value that TOML cannot hold.
    """
    top = [_entry(key, value) for key, value in table.items() if not isinstance(value, Mapping)]
    sections = [_section(key, value) for key, value in table.items() if isinstance(value, Mapping)]
    return "\n\n".join(["\n".join(top)] * bool(top) + sections) + "\n"


def _section(key: str, table: Mapping[str, Any]) -> str:
    return "\n".join([f"[{quoted_key(key)}]", *(_entry(k, value) for k, value in table.items())])


def _entry(key: str, value: Any) -> str:
    return f"{quoted_key(key)} = {inline(value)}"


def inline(value: Any) -> str:
    """Returns a value as TOML writes it after the equals sign.

    Raises:
        TypeError: TOML cannot hold it.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case int() | float():
            # TOML writes numbers as Python does; 1e-06 is shortened to 1e-6.
            return repr(value).replace("e-0", "e-")
        case dt.date() | dt.time():
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(inline(item) for item in value)}]"
        case Mapping():
            inside = ", ".join(_entry(key, item) for key, item in value.items())
            return f"{{ {inside} }}" if inside else "{}"
    raise TypeError(f"TOML holds no {type(value).__name__}")
