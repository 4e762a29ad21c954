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
        frame: Numbers as float64 and categories as text, both with NaN for missing values.
        numeric: Names of numeric features; a date yields several.
        categorical: Names of categorical features.
        dropped: Why each of the other columns is not used.
        readings: How each used column of the table is read.
        notices: Notices about how columns were read, a line each.
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
    """Infers the kind of each column from its type and values.

    No information leaks from one row to another: the target is not used, and every row is
    converted by itself.

    Args:
        frame: The features as read from the file.
        missing: Texts that count as missing, besides empty cells; by default the usual words
            among numbers and dates.
        n_left_out: Number of rows of the file that are not in the frame.
        decimal_comma: Whether the comma is the decimal mark if the columns are ambiguous.
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
    """Reads columns one by one, and collects the useful ones."""

    def __init__(self, n_left_out: int, decimal_comma: bool) -> None:
        self._n_left_out = n_left_out
        self._decimal_comma = decimal_comma
        self._found: dict[str, NDArray[Any]] = {}
        self._counters: dict[str, tuple[Reading, dict[str, NDArray[Any]]]] = {}
        self._made = TableColumns(DataFrame())

    def add(self, column: Series, name: str, kind: Sorted) -> None:
        """Reads one column."""
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
        """Returns the useful columns."""
        made = self._made
        if not self._found:
            # Without other columns, y over 0, 1, 2, ... is a valid regression.
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
        # The table may have a column with the name of a date's part.
        features = tuple(_free(feature, self._found) for feature in values)
        self._found |= dict(zip(features, values.values(), strict=True))
        self._made.readings[name] = replace(reading, features=features)


def again(frame: DataFrame, readings: Mapping[str, Reading]) -> DataFrame:
    """Returns new rows with the columns that were found in the table.

    Values that cannot be read count as missing, or as a rare category, and are logged.

    Args:
        frame: Rows with the table's columns, in any order; others are ignored.
        readings: Readings of the table's columns.

    Raises:
        TaskError: Columns are missing.
    """
    found, notices = read_rows(frame, readings)
    for notice in notices:
        logger.warning("%s", notice)
    return found


def _dated(column: Series, name: str, reading: Reading) -> tuple[Reading, dict[str, NDArray[Any]]]:
    """Returns the parts of a date that vary."""
    every = dates.all_parts(as_dates(column, reading.pattern))
    varying = {part: values for part, values in every.items() if _varies(values)}
    features = tuple(name + part for part in varying)
    read = replace(reading, parts=tuple(varying), features=features)
    return read, dict(zip(features, varying.values(), strict=True))


def _notices(
    name: str, reading: Reading, kind: Sorted, values: dict[str, NDArray[Any]]
) -> list[str]:
    """Returns notices about how a column was read."""
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
    """Returns a line about the columns that are not used, or an empty text."""
    entries = [f"{shortened(name)} ({why})" for name, why in columns.dropped.items()]
    if not entries:
        return ""
    more = f" and {len(entries) - _MAX_LISTED} more" if len(entries) > _MAX_LISTED else ""
    listed = ", ".join(entries[:_MAX_LISTED])
    return f"left out {len(entries):,} of {n_columns:,} columns: {listed}{more}"


def as_numbers(column: Series) -> Series | None:
    """Returns a column as float64 with NaN for missing values, or None if it is not numeric.

    Infinite values, and those that overflow when squared, count as missing.
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
    """Returns a column of text in which some words are missing values."""
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
    """Returns the columns as plain data, for reports."""
    read = {name: how for name, r in columns.readings.items() if (how := _in_words(r))}
    found = {
        "numeric": list(columns.numeric),
        "categorical": list(columns.categorical),
        "dropped": dict(columns.dropped),
    }
    return found | ({"read": read} if read else {})


def _in_words(reading: Reading) -> str:
    """Describes the format of a column; empty for plain formats."""
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
