"""What goes to standard error: errors, hints and logs, each on a line of its own."""

from __future__ import annotations

import logging
import os
import sys

import click

from hpo.errors import nearest

_PLAINLY = {
    "is not a valid integer range": "is not a whole number",
    "is not a valid integer": "is not a whole number",
    "is not a valid float range": "is not a number",
    "is not a valid float": "is not a number",
}
_COLOURS = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class Logs(logging.Handler):
    """Writes records to whatever standard error is at that moment, as a live display needs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record: its level, its module when it is not for everybody, its text."""
        name = record.levelname.lower()
        where = "" if record.levelno >= logging.WARNING else f"{record.name}: "
        prefix = paint(f"{name}:", _COLOURS.get(record.levelno, "blue"))
        click.echo(f"{prefix} {where}{record.getMessage()}", err=True)


def complain(message: str, hint: str | None = None) -> None:
    """Writes an error, and on the next line what to do about it."""
    click.echo(f"{paint('error:', 'red')} {message}", err=True)
    if hint:
        click.echo(f"{paint('hint:', 'cyan')} {hint}", err=True)


def paint(text: str, colour: str) -> str:
    """Colours text for standard error, where that is a terminal which wants it."""
    plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else click.style(text, fg=colour, bold=True)


def explain_usage(error: click.ClickException) -> str:
    """Returns click's message, with the nearest right name for an unknown option or choice."""
    if isinstance(error, click.NoSuchOption):
        match = nearest(error.option_name, _options(error.ctx))
        return f"No such option {error.option_name!r}." + (
            f" Did you mean {match}?" if match else ""
        )
    message = error.format_message()
    for theirs, ours in _PLAINLY.items():
        message = message.replace(theirs, ours)
    return message


def _options(context: click.Context | None) -> list[str]:
    if context is None:
        return []
    parameters = context.command.get_params(context)
    visible = (p for p in parameters if not getattr(p, "hidden", False))
    return [name for p in visible for name in p.opts if name.startswith("--")]
