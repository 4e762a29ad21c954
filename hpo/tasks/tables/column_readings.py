"""Column readings: how each column is read, as plain data, so that new rows are read the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame, Series
from pandas.api import types

from hpo.errors import TaskError, did_you_mean
from hpo.tasks.tables import dates, numerals

Kind: TypeAlias = Literal["number", "boolean", "date", "time", "duration", "text"]

MISSING_WORDS: Final = (
    *("?", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "n/a", "NULL", "null", "None"),
    *("NaN", "-NaN", "nan", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
"""Default texts for missing values among numbers and dates: those of pandas, and UCI's ``?``."""

LARGEST: Final = 1e100
"""Larger numbers overflow when squared, and count as missing."""

# Larger floats are not counts or codes.
_EXACT: Final = 1e15
MAX_KNOWN: Final = 1_000
_MAX_SHOWN: Final = 60
_WHAT: Final[Mapping[Kind, str]] = {
    "number": "are no numbers",
    "boolean": "are neither true nor false",
    "date": "are no dates",
    "time": "are no times of day",
    "duration": "are no durations",
    "text": "are no categories of the study",
}
_TRUE_FALSE: Final = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Reading:
    """Rules for reading the values of one column.

    Attributes:
        kind: Kind of its values; text means categories.
        features: Names of the features that it yields: one, or several for a date.
        parts: For a date, the part that each feature holds; some of ``dates.PARTS``.
        pattern: For a date, its format for ``strptime``, or ``ISO8601``.
        decimal: For a number, the decimal mark.
        thousands: For a number, the separator of thousands.
        unit: For a number, the text before or after it; see ``NumberFormat``.
        missing: Texts that count as missing, besides empty cells.
        known: For text, all values of the table; None if there are too many.
    """

    kind: Kind
    features: tuple[str, ...]
    parts: tuple[str, ...] = ()
    pattern: str = ""
    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    missing: tuple[str, ...] = ()
    known: tuple[str, ...] | None = None

    @property
    def numbers(self) -> numerals.NumberFormat:
        """The format of its numbers."""
        return numerals.NumberFormat(self.decimal, self.thousands, self.unit)

    def to_plain(self) -> dict[str, Any]:
        """Returns the reading as plain data for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Reading:
        """Returns the reading that ``to_plain`` wrote; unknown keys are ignored."""
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in plain.items()
            if key in known
        }
        return cls(**values)


def read_rows(
    frame: DataFrame, readings: Mapping[str, Reading]
) -> tuple[DataFrame, tuple[str, ...]]:
    """Reads new rows in the same way as the columns of the table.

    Args:
        frame: Rows with the table's columns, in any order; others are ignored.
        readings: The readings by column name.

    Returns:
        Numbers as float64 and categories as text, both with NaN for missing values, and a notice
        for every column with values that could not be read.

    Raises:
        TaskError: Columns are missing.
    """
    places = {str(name).strip(): i for i, name in enumerate(frame.columns)}
    absent = sorted(name for name in readings if name not in places)
    if absent:
        near = did_you_mean(absent[0], places) if len(absent) == 1 else ""
        raise TaskError(f"the rows have no column {', '.join(map(shortened, absent))}{near}")
    found: dict[str, NDArray[Any]] = {}
    notices = []
    for name, reading in readings.items():
        column = frame.iloc[:, places[name]]
        values = read_column(column, reading)
        found |= values
        strange = _strange(column, reading, next(iter(values.values())))
        if strange.any():
            first = as_text(column[strange].iloc[0])
            notices.append(
                f"column {shortened(name)}: {int(strange.sum()):,} of {len(frame):,} values "
                f"{_WHAT[reading.kind]}, the first is {shortened(first)!r}"
            )
    return DataFrame(found, index=frame.index), tuple(notices)


def shortened(text: str) -> str:
    """Returns a long name or value cut to its beginning."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def read_column(column: Series, reading: Reading) -> dict[str, NDArray[Any]]:
    """Returns the features of a column; values that cannot be read are missing."""
    match reading.kind:
        case "text":
            return {reading.features[0]: _as_known(texts_of(column), reading.known)}
        case "date":
            return date_features(as_dates(column, reading.pattern), reading.parts, reading.features)
        case "duration":
            values = _durations(column)
        case "time":
            values = parsed(column, reading.missing, dates.hours)
        case "boolean":
            values = parsed(column, reading.missing, _truth)
        case "number":
            values = _numbers(column, reading)
    return {reading.features[0]: values}


def as_text(value: Any) -> str:
    """Returns a single value as text: 1 for 1.0."""
    if (
        isinstance(value, float | np.floating)
        and abs(number := float(value)) < _EXACT
        and number.is_integer()
    ):
        return str(int(number))
    return str(value).strip()


def texts_of(column: Series) -> NDArray[Any]:
    """Returns a column as Python text, with NaN for missing values."""
    if isinstance(column.dtype, pd.StringDtype):
        found = column.str.strip().to_numpy(dtype=object, na_value=np.nan)
        return np.where(found == "", np.nan, found)
    values = column.to_numpy(dtype=object)
    gone = pd.isna(values)
    found = np.empty(len(values), dtype=object)
    found[:] = [
        np.nan if na else v.strip() if type(v) is str else as_text(v)
        for v, na in zip(values, gone, strict=True)
    ]
    found[found == ""] = np.nan
    return found


def parsed(
    column: Series, missing: Sequence[str], parse: Callable[[str], float | None]
) -> NDArray[np.float64]:
    """Applies a function to each text of a column, with NaN where it returns None."""
    known: dict[Any, float] = dict.fromkeys(missing, np.nan)
    found = np.full(len(column), np.nan)
    for i, text in enumerate(texts_of(column)):
        if isinstance(text, str):
            if text not in known:
                value = parse(text)
                known[text] = np.nan if value is None else value
            found[i] = known[text]
    return found


def bounded(values: NDArray[Any]) -> NDArray[np.float64]:
    """Returns numbers, with NaN for those that overflow when squared."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) < LARGEST, values, np.nan)


def typed_numbers(column: Series) -> NDArray[np.float64]:
    """Returns a column of a numeric type as float64, with NaN for missing values."""
    if types.is_timedelta64_dtype(column.dtype):
        return np.asarray(column.dt.total_seconds(), dtype=np.float64)
    return bounded(column.to_numpy(dtype=np.float64, na_value=np.nan))


def as_dates(column: Series, pattern: str) -> Series:
    """Returns a column as dates in UTC, with NaT for values that are not dates."""
    if types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column, utc=True)
    texts = Series(texts_of(column), index=column.index, dtype=object)
    found = dates.DateFormat(pattern).read(texts)
    if pattern != dates.ISO:
        # New rows may hold date objects, whose text is in ISO format.
        others = found.isna() & texts.notna()
        if others.any():
            found = found.fillna(dates.DateFormat(dates.ISO).read(texts[others]))
    return found


def date_features(
    found: Series, parts: Sequence[str], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Returns parts of dates as numbers, by the names of their columns."""
    everything = dates.all_parts(found)
    return {name: everything[part] for name, part in zip(names, parts, strict=True)}


def _numbers(column: Series, reading: Reading) -> NDArray[np.float64]:
    if types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype):
        return typed_numbers(column)
    form = reading.numbers
    if form != numerals.PLAIN:
        return bounded(parsed(column, reading.missing, lambda text: _number(text, form)))
    texts = texts_of(column)
    texts[np.isin(texts.astype(str), reading.missing)] = np.nan
    try:
        return bounded(texts.astype(np.float64))
    except ValueError:
        return bounded(parsed(column, reading.missing, lambda text: _number(text, form)))


def _number(text: str, form: numerals.NumberFormat) -> float | None:
    # Plain numbers are accepted in every format: 1.0 beside $2.
    found = numerals.plain(text) if form == numerals.PLAIN else form.read(text)
    if found is not None:
        return found
    return form.read(text) if form == numerals.PLAIN else numerals.plain(text, form)


def _durations(column: Series) -> NDArray[np.float64]:
    if not types.is_timedelta64_dtype(column.dtype):
        texts = Series(texts_of(column), dtype=object)
        column = pd.to_timedelta(texts, errors="coerce")
    return np.asarray(column.dt.total_seconds(), dtype=np.float64)


def _truth(text: str) -> float | None:
    found = _TRUE_FALSE.get(text.lower())
    return found if found is not None or text not in ("0", "1") else float(text)


def _as_known(texts: NDArray[Any], values: Sequence[str] | None) -> NDArray[Any]:
    """Returns texts as the table writes them: 1 for 1.0, or 1.0 for 1."""
    if not values:
        return texts
    known = set(values)
    by_number = {numerals.plain(value): value for value in values}
    found = texts.copy()
    for i, text in enumerate(texts):
        if isinstance(text, str) and text not in known:
            number = numerals.plain(text)
            found[i] = text if number is None else by_number.get(number, text)
    return found


def _strange(column: Series, reading: Reading, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns which values of a column could not be read, as a mask."""
    if reading.kind != "text":
        lost = np.asarray(np.isnan(values))
        if not lost.any():
            return lost
        fine = set(reading.missing)
        rows = zip(texts_of(column), lost, strict=True)
        return np.array([is_lost and isinstance(t, str) and t not in fine for t, is_lost in rows])
    if reading.known is None:
        return np.zeros(len(values), dtype=bool)
    known = set(reading.known)
    return np.array([isinstance(t, str) and t not in known for t in values], dtype=bool)
