"""Text tables: lists as a table in the terminal, as JSON or as CSV."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hpo.report.text import formatting
from hpo.report.text.printable import cell, escaped

Format: TypeAlias = Literal["table", "json", "csv"]
FORMATS: tuple[Format, ...] = ("table", "json", "csv")
Row: TypeAlias = Mapping[str, Any]

UNLIMITED = 100_000
WIDEST_CELL = 80
MOST_COLUMNS = 100

STATE_STYLES = {
    "COMPLETE": "green",
    "PRUNED": "yellow",
    "FAIL": "red",
    "RUNNING": "cyan",
    "WAITING": "dim",
    "active": "cyan",
    "done": "green",
    "stopped": "yellow",
    "unreadable": "red",
    "paused": "yellow",
    "PAUSED": "yellow",
}


@dataclass(frozen=True)
class TextColumn:
    """A column of a terminal table.

    Attributes:
        write: Turns a row into the text of a cell.
        optional: May be left out if the terminal is too narrow.
        right: Aligned to the right, as numbers are.
    """

    header: str
    write: Callable[[Row], str]
    optional: bool = False
    right: bool = False


def by_key(
    key: str, header: str | None = None, *, optional: bool = False, right: bool = False
) -> TextColumn:
    """Returns the column that shows a row's entry in a form for people."""
    return TextColumn(header or key, lambda row: show(row.get(key)), optional, right)


def show(value: Any) -> str:
    """Writes any value for people: floats short, None as ``-``."""
    if value is None:
        return "-"
    return formatting.number(value) if isinstance(value, float) else str(value)


def print_table(console: Console, columns: Sequence[TextColumn], rows: Sequence[Row]) -> None:
    """Prints a table; on a narrow terminal, optional columns are left out from the right."""
    shown = list(columns[:MOST_COLUMNS])
    table = _table(shown, rows)
    while _width(console, table) > console.width:
        spare = [column for column in shown if column.optional]
        if not spare:
            break
        shown.remove(spare[-1])
        table = _table(shown, rows)
    with console.capture() as captured:
        console.print(table)
    # Cells are padded to the width of their column; the last one does not need it.
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")
    n_hidden = len(columns) - len(shown)
    if n_hidden:
        console.print(f" {n_hidden} more column{'s' * (n_hidden > 1)}: -f json", style="dim")


def _table(columns: Sequence[TextColumn], rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in columns:
        header = Text(cell(column.header, WIDEST_CELL))
        table.add_column(header, justify="right" if column.right else "left", no_wrap=True)
    for row in rows:
        cells = [cell(column.write(row), WIDEST_CELL) for column in columns]
        table.add_row(*(Text(each, style=STATE_STYLES.get(each, "")) for each in cells))
    return table


def _width(console: Console, table: Table) -> int:
    unlimited = console.options.update(max_width=UNLIMITED)
    return Measurement.get(console, unlimited, table).maximum


def to_json(value: Any) -> str:
    """Writes JSON with every digit; NaN is null, infinities are text, times are ISO 8601 UTC."""
    return escaped(json.dumps(exact(value), indent=2, ensure_ascii=False))


def to_csv(rows: Sequence[Row], header: Sequence[str] = ()) -> str:
    """Writes CSV with a header; nested tables become columns such as ``params.depth``.

    CSV cannot escape invisible characters, and people view it in terminals. So they are escaped as
    in JSON, except tabs and line feeds.

    Args:
        header: Columns that are present even without rows; others follow in the rows' order.
    """
    flat = [_flat(exact(row)) for row in rows]
    names = list(dict.fromkeys([*header, *(name for row in flat for name in row)]))
    # A key that holds a table in some rows and None in others is not a column.
    names = [name for name in names if not any(n.startswith(f"{name}.") for n in names)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(flat)
    return escaped(buffer.getvalue(), keep="\n\t")


def exact(value: Any) -> Any:
    """Turns a value into one that JSON can hold; only the kind of NaN is lost."""
    if isinstance(value, datetime.datetime):
        return formatting.utc_iso(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): exact(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [exact(entry) for entry in value]
    return value


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            flat[prefix + key] = json.dumps(value, ensure_ascii=False)
        else:
            flat[prefix + key] = value
    return flat
