"""Presentation of a page: live on a terminal, once into a pipe, as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click
from rich.text import Text

from hpo.cli.messages import LONGEST_LINE
from hpo.cli.options import F, NearestChoice
from hpo.cli.output import console, emit_one
from hpo.store.db.database import Database

T = TypeVar("T")


@dataclass(frozen=True)
class Presentation(Generic[T]):
    """How a page is read and shown.

    Attributes:
        read: Reads the page, given the one before; None at first.
        draw: Returns its lines for a width and a height; a height of None means no limit.
        record: Returns it for programs.
        has_ended: Returns whether it is the last one.
    """

    db: Database
    read: Callable[[T | None], T]
    draw: Callable[[T, int, int | None], list[Text]]
    record: Callable[[T], dict[str, Any]]
    has_ended: Callable[[T], bool]

    def show(self, form: str, *, once: bool) -> None:
        """Shows the page live, if standard output is a terminal and it is to be shown in a table.

        Args:
            form: ``table`` or ``json``.
            once: Show only the present state.
        """
        first = self.read(None)
        if emit_one(form, {} if form == "table" else self.record(first)):
            return
        out = console()
        if once or not out.is_terminal or out.is_dumb_terminal:
            for line in self.draw(first, min(out.width, LONGEST_LINE), None):
                out.print(line, soft_wrap=True)
            return
        from hpo.cli.screens.keyboard import Keyboard
        from hpo.cli.screens.live_screen import Reader, show_live

        reader = Reader(self.db, self.read, first)
        show_live(out, reader, self.draw, self.has_ended, Keyboard())


def screen_options(function: F) -> F:
    """Adds ``--once`` and ``-f table|json``."""
    function = click.option(
        "-f",
        "--format",
        "form",
        type=NearestChoice(("table", "json")),
        default="table",
        show_default=True,
        help="Output format; json is the present state with every digit, for programs.",
    )(function)
    return click.option(
        "--once", is_flag=True, help="Print the present state and exit, as into a pipe."
    )(function)
