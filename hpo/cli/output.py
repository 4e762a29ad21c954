"""What goes to standard output, and into files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from hpo.errors import HpoError
from hpo.report.tables import UNLIMITED, Column, Row, print_table, to_csv, to_json


def console() -> Console:
    """Returns a console on standard output; no markup is read from what is printed."""
    # A pipe or a file has no width: it gets every line in full.
    width = None if sys.stdout.isatty() else UNLIMITED
    return Console(markup=False, highlight=False, emoji=False, width=width)


def emit(
    form: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    header: Sequence[str] = (),
    shown: Sequence[Row] | None = None,
) -> None:
    """Prints a list as a table, JSON or CSV.

    Args:
        columns: Of the table; JSON and CSV hold every entry of ``rows``.
        header: Columns that a CSV has even when it has no rows.
        shown: Rows for the table, if they differ from those for programs.
    """
    if form == "json":
        click.echo(to_json(list(rows)))
    elif form == "csv":
        click.echo(to_csv(rows, header), nl=False)
    else:
        print_table(console(), columns, rows if shown is None else shown)


def emit_one(form: str, row: Row) -> bool:
    """Prints one record for programs; returns False where people want to read it instead."""
    if form == "json":
        click.echo(to_json(dict(row)))
    elif form == "csv":
        click.echo(to_csv([row]), nl=False)
    return form != "table"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes an error of a file that cannot be written one that names it."""
    try:
        yield
    except OSError as error:
        raise HpoError(f"{path}: {error.strerror or error}") from error


def pairs(entries: dict[str, Any], indent: int = 1) -> list[str]:
    """Writes names and values below each other, aligned."""
    width = max((len(name) for name in entries), default=0)
    return [f"{'':{indent}}{name:<{width}}  {value}" for name, value in entries.items()]
