"""Messages of the commands: results on standard output; errors, hints and logs on standard error.

All text of the command line goes through this module or `hpo.cli.output`, so that text from a
database or a file cannot control the terminal.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence

import click

from hpo.errors import HpoError, SpecError, nearest
from hpo.report.text.printable import cell, visible_lines

LONGEST_LINE = 1_000
"""In characters: an error may quote a value, and a value may be a page."""
MOST_LINES = 200

_PLAINLY = {
    "is not a valid integer range": "is not a whole number",
    "is not a valid integer": "is not a whole number",
    "is not a valid float range": "is not a number",
    "is not a valid float": "is not a number",
}
_COLOURS = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class Logs(logging.Handler):
    """Writes log records to the current standard error, which a live display replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record: its level, its module if it is a debugging message, its text."""
        name = record.levelname.lower()
        where = "" if record.levelno >= logging.WARNING else f"{record.name}: "
        colour = _COLOURS.get(record.levelno, "blue")
        _tell(f"{name}:", colour, f"{where}{record.getMessage()}")


def say(line: str = "", *, err: bool = False) -> None:
    """Writes a line; on a terminal it is wrapped between words."""
    stream = sys.stderr if err else sys.stdout
    for part in _wrapped(cell(line, LONGEST_LINE), stream):
        click.echo(part, file=stream)


def complain(message: str, hint: str | None = None, details: Sequence[str] = ()) -> None:
    """Writes an error, its details on separate lines, and a hint."""
    _tell("error:", "red", message)
    for line in details[:MOST_LINES]:
        say(line, err=True)
    if len(details) > MOST_LINES:
        say(f"  ... and {len(details) - MOST_LINES:,} more", err=True)
    if hint:
        _tell("hint:", "cyan", hint)


def warn(message: str) -> None:
    """Writes a warning; the command continues."""
    _tell("warning:", "yellow", message)


def explain_traceback(error: BaseException) -> None:
    """Writes the traceback of an exception, for ``--debug``."""
    told = "".join(traceback.format_exception(error))
    click.echo(visible_lines(told.rstrip("\n")), err=True)


def paint(text: str, colour: str) -> str:
    """Colours text for standard error if that is a terminal with colours."""
    plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else click.style(text, fg=colour, bold=True)


def explain_input(error: OSError | UnicodeError, args: Sequence[str]) -> HpoError:
    """Returns the message for a path that the system refuses, or for text that is not UTF-8.

    Args:
        error: The unexplained exception.
        args: The command line.
    """
    if isinstance(error, UnicodeError):
        wrong = [arg for arg in args if not _is_text(arg)]
        return SpecError(f"{wrong[0]} is not UTF-8 text" if wrong else f"no UTF-8 text: {error}")
    where = f"{error.filename}: " if error.filename is not None else ""
    message = f"{where}{(error.strerror or str(error)).lower()}"
    is_no_name = error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTDIR)
    return SpecError(message) if is_no_name else HpoError(message)


def _is_text(arg: str) -> bool:
    try:
        arg.encode()
    except UnicodeError:
        return False
    return True


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


def _tell(title: str, colour: str, message: str) -> None:
    first, *others = _wrapped(f"{title} {cell(message, LONGEST_LINE)}", sys.stderr)
    click.echo(paint(title, colour) + first.removeprefix(title), err=True)
    for line in others:
        click.echo(line, err=True)


def _wrapped(line: str, stream: object) -> Iterable[str]:
    isatty = getattr(stream, "isatty", None)
    # A pipe or a file has no width: it gets every line in full.
    return broken(line, shutil.get_terminal_size().columns) if isatty and isatty() else [line]


def broken(line: str, width: int) -> Iterator[str]:
    """Wraps a line between words and indents all lines but the first.

    A word that is longer than a line stays whole, so that a path or a URL can be copied.
    """
    indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
    words = line.strip(" ").split(" ")
    found = indent[2:] + words[0]
    for word in words[1:]:
        if len(found) + 1 + len(word) > width and found.strip():
            yield found
            found = indent + word
        else:
            found += f" {word}"
    yield found
