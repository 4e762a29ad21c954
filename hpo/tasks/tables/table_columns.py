"""Table columns: each read as numbers, categories or dates, or dropped as useless."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, Series

from hpo.tasks.tables import dates
from hpo.tasks.tables.column_kinds import Sorted, sort, votes
from hpo.tasks.tables.column_readings import (
    MISSING_WORDS,
    Reading,
    as_dates,
    read_column,
    read_rows,
    shortened,
)
from hpo.tasks.tables.useless_columns import CONSTANT, COUNTER, PROSE, crowd_notice, uselessness

logger = logging.getLogger(__name__)

_MAX_LISTED: Final = 12


@dataclass
class TableColumns:
    """The usable columns of a table.

    Attributes:
        frame: Numbers as float64 and categories as text, both with NaN where a value is missing.
        numeric: Names of columns of numbers; a date gives several.
        categorical: Names of columns of text.
        dropped: Why each of the other columns is of no use.
        readings: How each of the table's own columns that are of use is read.
        notices: What a person should know of how they were read, a line each.
    """

    frame: DataFrame
    numeric: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def find_columns(
    frame: DataFrame,
    *,
    missing: Sequence[str] | None = None,
    n_left_out: int = 0,
    decimal_comma: bool = False,
) -> TableColumns:
    """Decides what each column is, by its type and values.

    Nothing is learnt here that a model could profit from: no target is looked at, and every row is
    translated by itself.

    Args:
        frame: The features as they were read.
        missing: Texts that count as missing, beside empty cells; by default the usual words do
            among numbers and dates.
        n_left_out: Rows of the file that are not in the frame.
        decimal_comma: Whether the comma is the decimal mark where the columns do not tell.
    """
    words = MISSING_WORDS if missing is None else tuple(missing)
    names = [str(name) for name in frame.columns]
    series = [frame.iloc[:, i] for i in range(len(names))]
    if missing:
        series = [_without(column, set(missing)) for column in series]
    kinds = [
        sort(column, name, words, decimal_comma=decimal_comma)
        for column, name in zip(series, names, strict=True)
    ]
    has_comma = votes(kinds, decimal_comma=decimal_comma)
    maker = _Maker(n_left_out, has_comma)
    for column, name, kind in zip(series, names, kinds, strict=True):
        maker.add(column, name, kind)
    return maker.columns(frame)


class _Maker:
    """Takes columns one by one, and makes a table of those that are of use."""

    def __init__(self, n_left_out: int, decimal_comma: bool) -> None:
        self._n_left_out = n_left_out
        self._decimal_comma = decimal_comma
        self._found: dict[str, NDArray[Any]] = {}
        self._counters: dict[str, tuple[Reading, dict[str, NDArray[Any]]]] = {}
        self._made = TableColumns(DataFrame())

    def add(self, column: Series, name: str, kind: Sorted) -> None:
        """Takes one column."""
        if kind.reading is None:
            self._made.dropped[name] = kind.reason
            return
        reading = kind.reading
        if kind.formats is not None:
            form = kind.formats.chosen(decimal_comma=self._decimal_comma)
            reading = replace(
                reading, decimal=form.decimal, thousands=form.thousands, unit=form.unit
            )
        if reading.kind == "date":
            reading, values = _dated(column, name, reading)
            reason = "" if values else CONSTANT
        else:
            values = read_column(column, reading)
            reason = uselessness(name, values[name], self._n_left_out)
        if reason == COUNTER:
            self._counters[name] = reading, values
        if reason:
            self._made.dropped[name] = kind.mixed if kind.mixed and reason == PROSE else reason
            return
        self._keep(name, reading, values)
        self._made.notices += _notices(name, reading, kind, values)

    def columns(self, frame: DataFrame) -> TableColumns:
        """Returns all that are of use."""
        made = self._made
        if not self._found:
            # y over 0, 1, 2, ... is a fair regression when there is nothing else.
            for name, (reading, values) in self._counters.items():
                del made.dropped[name]
                self._keep(name, reading, values)
        made.frame = DataFrame(self._found, index=frame.index)
        for name, array in self._found.items():
            (made.numeric if array.dtype.kind == "f" else made.categorical).append(name)
        for name, why in made.dropped.items():
            logger.info("left out column %s: %s", name, why)
        return made

    def _keep(self, name: str, reading: Reading, values: dict[str, NDArray[Any]]) -> None:
        # A table may have a column that is called as the part of a date is.
        features = tuple(_free(feature, self._found) for feature in values)
        self._found |= dict(zip(features, values.values(), strict=True))
        self._made.readings[name] = replace(reading, features=features)


def again(frame: DataFrame, readings: Mapping[str, Reading]) -> DataFrame:
    """Returns other rows in the columns that were found in a table.

    What is not understood counts as missing, or as a category that is rare, and is told.

    Args:
        frame: With the table's own columns, in any order and among others.
        readings: Of the table's columns.

    Raises:
        TaskError: Columns are missing.
    """
    found, notices = read_rows(frame, readings)
    for notice in notices:
        logger.warning("%s", notice)
    return found


def _dated(column: Series, name: str, reading: Reading) -> tuple[Reading, dict[str, NDArray[Any]]]:
    """Returns what in a date varies."""
    every = dates.all_parts(as_dates(column, reading.pattern))
    varying = {part: values for part, values in every.items() if _varies(values)}
    features = tuple(name + part for part in varying)
    read = replace(reading, parts=tuple(varying), features=features)
    return read, dict(zip(features, varying.values(), strict=True))


def _notices(
    name: str, reading: Reading, kind: Sorted, values: dict[str, NDArray[Any]]
) -> list[str]:
    """Returns what a person should know of how a column was read."""
    shown = shortened(name)
    if kind.words:
        n = sum(count for _, count in kind.words)
        texts = ", ".join(repr(shortened(word)) for word, _ in kind.words[:3])
        what = "date" if reading.kind == "date" else "number"
        are = f"value that is no {what} counts" if n == 1 else f"values that are no {what}s count"
        return [f"column {shown}: {n:,} {are} as missing: {texts}"]
    if reading.kind != "text":
        return []
    if kind.mixed:
        return [f"column {shown} {kind.mixed}; its texts are categories"]
    crowded = crowd_notice(shown, values[name])
    return [crowded] if crowded else []


def left_out(columns: TableColumns, n_columns: int) -> str:
    """Returns a line about the columns of no use, or nothing."""
    entries = [f"{shortened(name)} ({why})" for name, why in columns.dropped.items()]
    if not entries:
        return ""
    more = f" and {len(entries) - _MAX_LISTED} more" if len(entries) > _MAX_LISTED else ""
    listed = ", ".join(entries[:_MAX_LISTED])
    return f"left out {len(entries):,} of {n_columns:,} columns: {listed}{more}"


def as_numbers(column: Series) -> Series | None:
    """Returns a column as float64, NaN where a value is missing, or None if it holds others.

    Values too large to be squared, infinite ones among them, count as missing.
    """
    kind = sort(column, "", (), decimal_comma=False)
    if kind.reading is None or kind.reading.kind not in ("number", "duration") or kind.words:
        return None
    return Series(_values(column, kind), index=column.index)


def as_ordered(column: Series) -> Series | None:
    """Returns a column without missing values as dates or numbers, or None if it holds neither."""
    kind = sort(column, "", (), decimal_comma=False)
    if kind.reading is None or kind.words or kind.reading.kind == "text":
        return None
    if kind.reading.kind == "date":
        return as_dates(column, kind.reading.pattern)
    return Series(_values(column, kind), index=column.index)


def _values(column: Series, kind: Sorted) -> NDArray[Any]:
    assert kind.reading is not None
    reading = kind.reading
    if kind.formats is not None:
        form = kind.formats.chosen(decimal_comma=False)
        reading = replace(reading, decimal=form.decimal, thousands=form.thousands, unit=form.unit)
    return read_column(column, reading)[""]


def _without(column: Series, words: set[str]) -> Series:
    """Returns a column of text with nothing in the place of some words."""
    if column.dtype.kind in "biufcMm":
        return column
    gone = column.map(lambda value: isinstance(value, str) and value.strip() in words)
    return column.mask(gone.fillna(value=False).astype(bool))


def _free(name: str, taken: dict[str, NDArray[Any]]) -> str:
    found, i = name, 2
    while found in taken:
        found, i = f"{name} {i}", i + 1
    return found


def _varies(values: NDArray[Any]) -> bool:
    n_missing = int(np.isnan(values).sum())
    return len(np.unique(values[~np.isnan(values)])) + (n_missing > 0) > 1


def describe(columns: TableColumns) -> dict[str, Any]:
    """Returns the columns as plain data, for people."""
    read = {name: how for name, r in columns.readings.items() if (how := _in_words(r))}
    found = {
        "numeric": list(columns.numeric),
        "categorical": list(columns.categorical),
        "dropped": dict(columns.dropped),
    }
    return found | ({"read": read} if read else {})


def _in_words(reading: Reading) -> str:
    """Says how a column is read that is not written as programs write it."""
    if reading.kind == "date":
        return "" if reading.pattern == dates.ISO else dates.DateFormat(reading.pattern).in_words
    if reading.kind == "time":
        return "time of day"
    if reading.kind != "number":
        return ""
    marks = {",": "decimal comma"}.get(reading.decimal, "")
    between = f"{reading.thousands!r} between thousands" if reading.thousands else ""
    unit = f"in {reading.unit}" if reading.unit else ""
    return ", ".join(part for part in (marks, between, unit) if part)
