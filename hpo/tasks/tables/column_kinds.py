"""Column kinds: inferred from the type and the values of a table's column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from pandas import Series
from pandas.api import types

from hpo.tasks.tables import dates, numerals
from hpo.tasks.tables.column_readings import MAX_KNOWN, Kind, Reading, texts_of

# Minimum share of numbers or dates in a column that also holds a few words.
_MOST: Final = 0.9
FEW_VALUES: Final = 20
_N_SAMPLED: Final = 40
_N_SHOWN: Final = 2


@dataclass(frozen=True)
class Sorted:
    """The inferred kind of a column.

    Attributes:
        reading: How the column is read; None if it cannot be used.
        reason: Why it cannot be used.
        formats: Possible formats of its numbers, if the choice depends on other columns.
        words: Texts among numbers or dates that are neither, with their counts.
        mixed: Why a column of categories looks like numbers or dates.
    """

    reading: Reading | None
    reason: str = ""
    formats: numerals.Formats | None = None
    words: tuple[tuple[str, int], ...] = ()
    mixed: str = ""


def sort(column: Series, name: str, missing: Sequence[str], *, decimal_comma: bool) -> Sorted:
    """Infers the kind of a column.

    Args:
        column: The column as read from the file.
        name: Name of the column.
        missing: Texts that count as missing among numbers and dates.
        decimal_comma: Whether the table may use decimal commas, so that dots are ambiguous.
    """
    if types.is_complex_dtype(column.dtype):
        return Sorted(None, "holds complex numbers")
    kind = _kind_of_type(column)
    if kind is not None:
        if column.isna().all():
            return Sorted(None, "is empty")
        pattern = dates.ISO if kind == "date" else ""
        return Sorted(_reading(name, kind, missing, pattern=pattern))
    present = column.dropna()
    if len(present) and isinstance(present.iloc[0], list | dict | tuple | set | np.ndarray | bytes):
        return Sorted(None, f"holds values of type {type(present.iloc[0]).__name__}")
    counts = Counter(text for text in texts_of(column) if isinstance(text, str))
    told = {text: n for text, n in counts.items() if text not in missing}
    if not told:
        return Sorted(None, "is empty")
    return _sort_texts(name, counts, told, missing, decimal_comma=decimal_comma)


def _kind_of_type(column: Series) -> Kind | None:
    """Returns the kind of a column by its type alone, None for text and objects."""
    dtype = column.dtype
    if types.is_bool_dtype(dtype) and not isinstance(dtype, pd.CategoricalDtype):
        return "boolean"
    if types.is_numeric_dtype(dtype):
        return "number"
    if types.is_datetime64_any_dtype(dtype):
        return "date"
    return "duration" if types.is_timedelta64_dtype(dtype) else None


def _sort_texts(
    name: str,
    counts: Counter[str],
    told: dict[str, int],
    missing: Sequence[str],
    *,
    decimal_comma: bool,
) -> Sorted:
    texts = list(told)
    found = _agreeing(name, texts, missing, decimal_comma=decimal_comma)
    if found is None:
        found = _mostly(name, told, missing, decimal_comma=decimal_comma)
    if found is not None:
        return found
    # Words such as NA are categories; only an empty cell is missing.
    known = tuple(sorted(counts)) if len(counts) <= MAX_KNOWN else None
    return Sorted(Reading("text", (name,), known=known), mixed=_mixed(texts))


def _agreeing(
    name: str, texts: list[str], missing: Sequence[str], *, decimal_comma: bool
) -> Sorted | None:
    """Returns the kind that all texts share, None for categories."""
    if {text.lower() for text in texts} <= {"true", "false"}:
        return Sorted(_reading(name, "boolean", missing))
    if not decimal_comma and _are_plain(texts):
        return Sorted(_reading(name, "number", missing))
    form = dates.find(texts)
    if form == dates.UNCLEAR:
        if len(texts) <= FEW_VALUES:
            return None
        return Sorted(
            None,
            f"holds dates whose day and month cannot be told apart, such as {texts[0]}; "
            "write 2024-12-31",
        )
    if form is not None:
        return Sorted(_reading(name, "date", missing, pattern=form.pattern))
    if all(dates.hours(text) is not None for text in texts):
        return Sorted(_reading(name, "time", missing))
    formats = numerals.find(texts)
    if formats is not None:
        return Sorted(_reading(name, "number", missing), formats=formats)
    return Sorted(_reading(name, "number", missing)) if _are_plain(texts) else None


def _mostly(
    name: str, told: dict[str, int], missing: Sequence[str], *, decimal_comma: bool
) -> Sorted | None:
    """Returns the kind of nearly all of many texts, such as measurements with a ``-`` among them.

    Few distinct values are categories even if most look like numbers: ``2``, ``4``, ``5 or more``.
    """
    sample = list(told)[:_N_SAMPLED]
    for looks in (dates.looks_like_one, numerals.looks_like_one):
        if sum(map(looks, sample)) < len(sample) / 2:
            continue
        alike = [text for text in told if looks(text)]
        n = sum(told[text] for text in alike)
        if len(alike) <= FEW_VALUES or n < _MOST * sum(told.values()):
            continue
        found = _agreeing(name, alike, missing, decimal_comma=decimal_comma)
        if found is not None and found.reading is not None:
            others = told.keys() - alike
            words = tuple((text, told[text]) for text in told if text in others)
            return Sorted(found.reading, formats=found.formats, words=words)
    return None


def _mixed(texts: list[str]) -> str:
    """Returns a notice if all texts are numbers or dates, but in different formats."""
    for what, looks in (("dates", dates.looks_like_one), ("numbers", numerals.looks_like_one)):
        if all(map(looks, texts[:_N_SAMPLED])) and all(map(looks, texts)):
            return f"holds {what} that are not written alike, such as {_differing(texts)}"
    return ""


def _differing(texts: Sequence[str]) -> str:
    """Returns two of the texts that differ in their non-digit characters."""
    shapes: dict[str, str] = {}
    for text in texts:
        shapes.setdefault("".join(c for c in text if not c.isdigit()), text)
    return " and ".join(list(shapes.values())[:_N_SHOWN])


def _are_plain(texts: Collection[str]) -> bool:
    """Returns whether Python can parse all texts as numbers."""
    return all(numerals.plain(text) is not None for text in texts)


def _reading(name: str, kind: Kind, missing: Sequence[str], *, pattern: str = "") -> Reading:
    return Reading(kind, (name,), pattern=pattern, missing=tuple(missing))


def votes(found: Sequence[Sorted], *, decimal_comma: bool) -> bool:
    """Returns whether the comma is a table's decimal mark, by its unambiguous columns."""
    total = sum(each.formats.comma for each in found if each.formats is not None)
    return total > 0 if total else decimal_comma
