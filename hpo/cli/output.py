"""Output of the commands: tables, records and text on standard output and in files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from hpo.cli.messages import LONGEST_LINE
from hpo.errors import HpoError
from hpo.report.text.printable import cell, visible_lines
from hpo.report.text.text_tables import UNLIMITED, Row, TextColumn, print_table, to_csv, to_json

WIDEST_NAME = 40
WIDEST_VALUE = 600
MOST_PAIRS = 200
"""More name-value pairs than this are only in JSON."""


class Screen(Console):
    """A console that shows control characters in text instead of sending them to the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Renders what is printed, with control characters in its text made visible."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible_lines(segment.text), segment.style)


def console(*, err: bool = False) -> Screen:
    """Returns a console on standard output; no markup is read from what is printed."""
    stream = sys.stderr if err else sys.stdout
    # A pipe or a file has no width: each line stays whole.
    width = None if stream.isatty() else UNLIMITED
    return Screen(markup=False, highlight=False, emoji=False, width=width, stderr=err)


def show_lines(lines: Iterable[Text], out: Screen | None = None) -> None:
    """Prints styled lines; on a terminal they are wrapped between words."""
    out = out or console()
    for line in lines:
        line.truncate(LONGEST_LINE, overflow="ellipsis")
        plain = line.plain
        indent = len(plain) - len(plain.lstrip(" ")) + 2
        first, *others = line.wrap(out, out.width) or [Text()]
        if others:
            # Wrap again, with room for the indent.
            rest = line[len(first.plain) :]
            rest.plain = rest.plain.lstrip(" ")
            others = list(rest.wrap(out, max(10, out.width - indent)))
        out.print(first, soft_wrap=True)
        for other in others:
            out.print(Text(" " * indent).append_text(other), soft_wrap=True)


def emit(
    form: str,
    columns: Sequence[TextColumn],
    rows: Sequence[Row],
    *,
    header: Sequence[str] = (),
    shown: Sequence[Row] | None = None,
) -> None:
    """Prints a list as a table, JSON or CSV.

    Args:
        columns: Columns of the table; JSON and CSV hold every entry of ``rows``.
        header: Columns that a CSV has even without rows.
        shown: Rows for the table, if they differ from those for programs.
    """
    if form == "json":
        write(to_json(list(rows)) + "\n")
    elif form == "csv":
        write(to_csv(rows, header))
    else:
        print_table(console(), columns, rows if shown is None else shown)


def emit_one(form: str, row: Row) -> bool:
    """Prints one record as JSON or CSV; returns False if the format is the table."""
    if form == "json":
        write(to_json(dict(row)) + "\n")
    elif form == "csv":
        write(to_csv([row]))
    return form != "table"


def write(text: str) -> None:
    """Writes text in a format for programs, which has escaped invisible characters."""
    click.echo(text, nl=False)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an error of writing a file into one that names the file."""
    try:
        yield
    except OSError as error:
        raise HpoError(f"{path}: {error.strerror or error}") from error


def pairs(entries: Mapping[str, Any] | Sequence[tuple[str, Any]], indent: int = 1) -> list[str]:
    """Writes aligned names and values, one pair per line; long values are shortened."""
    named = list(entries.items()) if isinstance(entries, Mapping) else entries
    shown = [
        (cell(name, WIDEST_NAME), cell(str(value), WIDEST_VALUE))
        for name, value in named[:MOST_PAIRS]
    ]
    width = max((len(name) for name, _ in shown), default=0)
    lines = [f"{'':{indent}}{name:<{width}}  {value}" for name, value in shown]
    if len(entries) > MOST_PAIRS:
        lines.append(f"{'':{indent}}... and {len(entries) - MOST_PAIRS:,} more: -f json")
    return lines
