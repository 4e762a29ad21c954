"""What each column of a table is to a model: numbers, categories, a date, or of no use."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas import DataFrame, Series
from pandas.api import types

from hpo.errors import TaskError

logger = logging.getLogger(__name__)

# Text that differs in nearly every row is a name, an address or prose, and no category.
_MOST_DISTINCT: Final = 0.9
_FEW_ROWS: Final = 20
_MOST_NUMBERS: Final = 0.9
_ID_NAME: Final = re.compile(r"(?:^|[_\W])(?:id|uuid|guid)$", re.IGNORECASE)
_LARGEST: Final = 1e100
_COUNTER: Final = "counts the rows"
_CONSTANT: Final = "is the same in every row"
_PARTS: Final = (" (day)", " (month)", " (weekday)", " (hour)")
_ISO_DATE: Final = r"\d{4}-\d{2}-\d{2}(?:[T ].*)?"


@dataclass
class Columns:
    """The usable columns of a table.

    Attributes:
        frame: Numbers as float64 and categories as text, both with NaN where a value is missing.
        numeric: Names of columns of numbers; a date gives several.
        categorical: Names of columns of text.
        dropped: Why each of the other columns is of no use.
    """

    frame: DataFrame
    numeric: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)


def find_columns(frame: DataFrame) -> Columns:
    """Decides what each column is, by its type and values.

    Nothing is learnt here that a model could profit from: no target is looked at, and every row is
    translated by itself.

    Args:
        frame: The features as they were read.
    """
    found: dict[str, Series] = {}
    counters: dict[str, Series] = {}
    columns = Columns(DataFrame())
    for name in frame.columns:
        values, reason = _translate(frame[name])
        # A plain column; the parts of a date are useful as they are.
        if "" in values:
            reason = _uselessness(name, values[""])
        if reason == _COUNTER:
            counters[name] = values[""]
        if reason:
            columns.dropped[name] = reason
        else:
            found |= {name + part: series for part, series in values.items()}
    if not found:
        # y over 0, 1, 2, ... is a fair regression when there is nothing else.
        found = counters
        columns.dropped = {k: v for k, v in columns.dropped.items() if k not in counters}
    columns.frame = DataFrame(found, index=frame.index)
    for name, series in found.items():
        kind = columns.numeric if series.dtype.kind == "f" else columns.categorical
        kind.append(name)
    for name, why in columns.dropped.items():
        logger.info("left out column %s: %s", name, why)
    return columns


def again(frame: DataFrame, columns: Columns) -> DataFrame:
    """Returns other rows in the columns that were found in a table.

    What cannot be read as a number where there were numbers counts as missing.

    Args:
        frame: With the table's own columns, in any order and among others.
        columns: Found in the table.

    Raises:
        TaskError: Columns are missing.
    """
    sources = {name: _source(name, frame) for name in (*columns.numeric, *columns.categorical)}
    missing = {_whole(name) for name, source in sources.items() if source is None}
    if missing:
        raise TaskError(f"the rows have no column {', '.join(sorted(missing))}")
    found: dict[str, Series] = {}
    for name, source in sources.items():
        assert source is not None
        column, part = frame[source], name.removeprefix(source)
        if name in columns.categorical:
            found[name] = _text(column)
        elif part:
            dates = pd.to_datetime(_text(column), errors="coerce", utc=True, format="ISO8601")
            found[name] = _parts(dates)[part].astype("float64")
        elif _is_boolean(column, column.dropna()):
            found[name] = column.map({True: 1.0, False: 0.0}).astype("float64")
        else:
            numbers = as_numbers(column)
            if numbers is None:
                numbers = as_numbers(pd.to_numeric(_text(column), errors="coerce"))
            found[name] = numbers
    return DataFrame(found, index=frame.index)


def _source(name: str, frame: DataFrame) -> str | None:
    """Returns the column that a column of numbers or text comes from, such as that of a date."""
    if name in frame.columns:
        return name
    return source if (source := _whole(name)) in frame.columns else None


def _whole(name: str) -> str:
    """Returns the name of the date that a column is a part of, else its own."""
    return next((name.removesuffix(part) for part in _PARTS if name.endswith(part)), name)


def as_numbers(column: Series) -> Series | None:
    """Returns a column as float64, NaN where a value is missing, or None if it holds others.

    Values too large to be squared, infinite ones among them, count as missing.
    """
    if types.is_complex_dtype(column.dtype) or types.is_datetime64_any_dtype(column.dtype):
        return None
    if types.is_timedelta64_dtype(column.dtype):
        return column.dt.total_seconds()
    if not types.is_numeric_dtype(column.dtype):
        numbers = pd.to_numeric(_text(column), errors="coerce")
        if (numbers.isna() & column.notna()).any():
            return None
        column = numbers
    numbers = column.astype("Float64").to_numpy(dtype="float64", na_value=np.nan)
    return Series(np.where(np.abs(numbers) < _LARGEST, numbers, np.nan), index=column.index)


def as_ordered(column: Series) -> Series | None:
    """Returns a column without missing values as dates or numbers, or None if it holds neither."""
    dates = _as_dates(column, column)
    return as_numbers(column) if dates is None else dates


def _translate(column: Series) -> tuple[Mapping[str, Series], str]:
    """Returns a column's values by the suffix of their name, and why they are of no use."""
    present = column.dropna()
    if present.empty:
        return {}, "is empty"
    if isinstance(present.iloc[0], list | dict | tuple | set | np.ndarray | bytes):
        return {}, f"holds values of type {type(present.iloc[0]).__name__}"
    if types.is_complex_dtype(column.dtype):
        return {}, "holds complex numbers"
    dates = _as_dates(column, present)
    if dates is not None:
        parts = _date_parts(dates)
        return parts, "" if parts else _CONSTANT
    if _is_boolean(column, present):
        return {"": column.map({True: 1.0, False: 0.0}).astype("float64")}, ""
    numbers = as_numbers(column)
    if numbers is None:
        numbers = _mostly_numbers(column, present)
    return {"": _text(column) if numbers is None else numbers}, ""


def _mostly_numbers(column: Series, present: Series) -> Series | None:
    """Returns a column of measurements in which some are noted as text, such as ``-``.

    Few distinct values are categories, whatever they look like: ``2``, ``4``, ``5 or more``.
    """
    if not (types.is_string_dtype(column.dtype) or column.dtype == object):
        return None
    numbers = pd.to_numeric(_text(column), errors="coerce")
    n_numbers = int(numbers.notna().sum())
    if n_numbers < _MOST_NUMBERS * len(present) or numbers.nunique() <= _FEW_ROWS:
        return None
    logger.info(
        "column %s: %d values that are no numbers count as missing",
        column.name,
        len(present) - n_numbers,
    )
    return as_numbers(numbers)


def _is_boolean(column: Series, present: Series) -> bool:
    if types.is_bool_dtype(column.dtype):
        return True
    return column.dtype == object and all(isinstance(value, bool) for value in present)


def _text(column: Series) -> Series:
    """Returns a column as Python text, NaN where a value is missing."""
    text = column.astype(object).where(column.notna(), np.nan)
    return text.map(lambda value: str(value).strip(), na_action="ignore").astype(object)


def _as_dates(column: Series, present: Series) -> Series | None:
    if types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column, utc=True)
    if not (types.is_string_dtype(column.dtype) or column.dtype == object):
        return None
    text = _text(column)
    if not text.dropna().str.fullmatch(_ISO_DATE).all():
        return None
    dates = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
    return dates if dates.notna().sum() == len(present) else None


def _date_parts(dates: Series) -> dict[str, Series]:
    """Returns what in a date varies and may matter, as numbers."""
    return {
        suffix: part.astype("float64")
        for suffix, part in _parts(dates).items()
        if part.nunique(dropna=False) > 1
    }


def _parts(dates: Series) -> dict[str, Series]:
    """Returns what may matter in a date, by the name of the part."""
    # In whole seconds, because nanoseconds end in 2262, and files say 9999 for "never".
    since_1970 = dates.dt.as_unit("s") - pd.Timestamp(0, tz="UTC").as_unit("s")
    found = (
        since_1970.dt.total_seconds() / 86_400,
        dates.dt.month,
        dates.dt.day_of_week,
        dates.dt.hour,
    )
    return dict(zip(_PARTS, found, strict=True))


def _uselessness(name: str, values: Series) -> str:
    """Says why a column of numbers or text tells a model nothing, or returns an empty text."""
    n_distinct, n_present = values.nunique(), int(values.notna().sum())
    if values.nunique(dropna=False) < 2:
        return _CONSTANT
    is_unique = n_distinct == n_present
    if is_unique and n_present > _FEW_ROWS and _ID_NAME.search(name):
        return "is an id"
    if values.dtype.kind != "f":
        is_prose = n_distinct > max(_FEW_ROWS, _MOST_DISTINCT * n_present)
        return "is text of its own in nearly every row" if is_prose else ""
    steps = np.diff(values.to_numpy())
    if is_unique and len(steps) > 1 and (np.all(steps == 1) or np.all(steps == -1)):
        return _COUNTER
    return ""


def describe(columns: Columns) -> dict[str, Any]:
    """Returns the columns as plain data, for people."""
    return {
        "numeric": list(columns.numeric),
        "categorical": list(columns.categorical),
        "dropped": dict(columns.dropped),
    }
