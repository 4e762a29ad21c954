"""Multi-row INSERT for MySQL and MariaDB, with the text that their driver would write, only faster.

PyMySQL writes each value of each row through several calls; for the rows of a report that takes
longer than the server takes to store them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

_LONGEST: Final = 1_000_000
"""Most characters of a statement, as PyMySQL has it: a server takes no more than 16 MiB."""
_MARKS: Final = re.compile(r"VALUES \((%\(\w+\)s(?:, %\(\w+\)s)+)\)")
_NAME: Final = re.compile(r"%\((\w+)\)s")


def statements(
    text: str, rows: Sequence[Mapping[str, Any]], escape: Callable[[Any], str]
) -> Iterator[str]:
    """Yields as few statements as hold the rows.

    Args:
        text: An INSERT of one row, with a placeholder for each of its values, two or more.
        rows: Values by the names of the placeholders.
        escape: The connection's own, for what is no number.
    """
    marks = _MARKS.search(text)
    assert marks is not None
    head, tail = text[: marks.start()], text[marks.end() :]
    in_order = itemgetter(*_NAME.findall(marks[1]))
    known: dict[str, str] = {}

    def literal(value: Any) -> str:
        kind = type(value)
        if kind is int:
            return str(value)
        if kind is float:
            digits = repr(value)
            # Without an exponent it would be a decimal number, and rounded as such.
            return digits if "e" in digits else f"{digits}e0"
        if value is None:
            return "NULL"
        if kind is not str:
            return escape(value)
        # Most texts of a column are equal: names, states, distributions.
        found = known.get(value)
        if found is None:
            found = known[value] = escape(value)
        return found

    batch: list[str] = []
    length = 0
    for row in rows:
        values = f"({', '.join(map(literal, in_order(row)))})"
        if batch and length + len(values) > _LONGEST:
            yield f"{head}VALUES {', '.join(batch)}{tail}"
            batch, length = [], 0
        batch.append(values)
        length += len(values)
    yield f"{head}VALUES {', '.join(batch)}{tail}"
