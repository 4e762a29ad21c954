"""Row features: cells of new rows as numbers and categories, by the readings of a study's table."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from hpo.run.exporting.standalone.csv_rows import InputError, as_cell
from hpo.tasks.tables.numerals import NumberFormat, plain
from hpo.tasks.tables.plain_dates import date_part, duration_s, hours, parse_date

# Larger numbers overflow when squared, and count as missing.
_LARGEST_NUMBER: Final = 1e100
_WHAT_STRANGE: Final[Mapping[str, str]] = {
    "number": "are no numbers",
    "boolean": "are neither true nor false",
    "date": "are no dates",
    "time": "are no times of day",
    "duration": "are no durations",
    "text": "are no categories of the study",
}


def encode_rows(rows: Sequence[Mapping[str, Any]], table: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Returns rows as the inputs of the model, with a warning for values that were not understood.

    Args:
        rows: Values by the name of their column; others than the study's are ignored.
        table: The readings, the features and the categories of the study's table.

    Returns:
        Numbers of shape [N, F], float64 with NaN where they are missing, and places in the lists of
        categories, of shape [N, C], int64; each only where the model takes it.

    Raises:
        InputError: A column is missing.
    """
    readings: Mapping[str, Mapping[str, Any]] = table["columns"]
    names = set().union(*rows) if rows else set(readings)
    absent = sorted(set(readings) - {str(name).strip() for name in names})
    if absent:
        raise InputError(f"the rows have no column {', '.join(absent)}")
    found: dict[str, list[Any]] = {}
    for name, reading in readings.items():
        found |= _column(name, [_cell_of(row, name) for row in rows], reading)
    inputs = []
    if table["numeric"]:
        columns = [torch.tensor(found[name], dtype=torch.float64) for name in table["numeric"]]
        inputs.append(torch.stack(columns, dim=1))
    if table["categorical"]:
        codes = [_codes(found[name], texts) for name, texts in table["categorical"].items()]
        inputs.append(torch.stack(codes, dim=1))
    return tuple(inputs)


def _cell_of(row: Mapping[str, Any], name: str) -> Any:
    if name in row:
        return row[name]
    # A name may have spaces around it.
    return next((value for key, value in row.items() if str(key).strip() == name), None)


def _column(name: str, cells: Sequence[Any], reading: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns the features of a column, and warns of values that are none."""
    missing = set(reading["missing"])
    values = _KINDS[reading["kind"]](cells, reading)
    texts = [as_cell(cell) for cell in cells]
    if reading["kind"] == "text":
        known = set(reading["known"] or texts)
        strange = [t for t, v in zip(texts, values, strict=True) if t and v not in known]
    else:
        strange = [
            t for t, v in zip(texts, values, strict=True) if t and v is None and t not in missing
        ]
    if strange:
        what = _WHAT_STRANGE[reading["kind"]]
        counts = f"{len(strange):,} of {len(cells):,} values"
        first = strange[0][:60]
        logging.getLogger("predict").warning(
            "warning: column %s: %s %s, the first is %r", name, counts, what, first
        )
    if reading["kind"] == "text":
        return {reading["features"][0]: values}
    if reading["kind"] != "date":
        return {reading["features"][0]: [math.nan if v is None else v for v in values]}
    pairs = zip(reading["features"], reading["parts"], strict=True)
    return {
        feature: [math.nan if date is None else date_part(date, part) for date in values]
        for feature, part in pairs
    }


def _texts(cells: Sequence[Any], reading: Mapping[str, Any]) -> list[Any]:
    """Returns texts as the study's table writes them: 1 for 1.0, or 1.0 for 1."""
    known = reading["known"] or ()
    spellings: dict[str, str] = {text: text for text in known}
    by_number = {number: text for text in known if (number := plain(text)) is not None}
    found = []
    for text in map(as_cell, cells):
        number = plain(text) if known and text not in spellings else None
        found.append(text if number is None else by_number.get(number, text))
    return found


def _parsed(
    parse: Callable[[str, Mapping[str, Any]], Any],
) -> Callable[[Sequence[Any], Mapping[str, Any]], list[Any]]:
    def column(cells: Sequence[Any], reading: Mapping[str, Any]) -> list[Any]:
        missing = set(reading["missing"]) | {""}
        texts = map(as_cell, cells)
        return [None if text in missing else parse(text, reading) for text in texts]

    return column


def _numbers(cells: Sequence[Any], reading: Mapping[str, Any]) -> list[Any]:
    form = NumberFormat(reading["decimal"], reading["thousands"], reading["unit"])
    missing = set(reading["missing"]) | {""}
    found: list[float | None] = []
    for cell in cells:
        if isinstance(cell, int | float):
            value: float | None = float(cell)
        else:
            text = as_cell(cell)
            value = None if text in missing else _number(text, form)
        found.append(value if value is not None and abs(value) < _LARGEST_NUMBER else None)
    return found


def _number(text: str, form: NumberFormat) -> float | None:
    # Plain numbers are accepted in every format: 1.0 beside $2.
    if form == NumberFormat():
        found = plain(text)
        return form.read(text) if found is None else found
    found = form.read(text)
    return plain(text, form) if found is None else found


def _truth(text: str, _: Mapping[str, Any]) -> float | None:
    return {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}.get(text.lower())


def _date(text: str, reading: Mapping[str, Any]) -> Any:
    return parse_date(text, reading["pattern"])


_KINDS: Final[Mapping[str, Callable[[Sequence[Any], Mapping[str, Any]], list[Any]]]] = {
    "text": _texts,
    "number": _numbers,
    "boolean": _parsed(_truth),
    "date": _parsed(_date),
    "time": _parsed(lambda text, _: hours(text)),
    "duration": _parsed(lambda text, _: duration_s(text)),
}


def _codes(texts: Sequence[str], categories: Sequence[str]) -> Tensor:
    """Returns the place of each text in a list; its length for those that it lacks."""
    places = {text: i for i, text in enumerate(categories)}
    return torch.tensor([places.get(text or "(missing)", len(categories)) for text in texts])
