"""Live screen: fills the terminal with what a database holds, and redraws it until the user leaves.

A thread reads, so that the screen answers to the user while the database does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from rich.live import Live
from rich.text import Text

from hpo.cli.messages import broken
from hpo.cli.output import Screen
from hpo.cli.screens.keyboard import Keyboard
from hpo.cli.screens.panels import cut
from hpo.errors import StoreError
from hpo.report.text import formatting
from hpo.report.text.printable import ELLIPSIS, cell
from hpo.store.db.database import Database

T = TypeVar("T")

REDRAW_S: Final = 0.5
MAX_SHARE: Final = 0.1
"""Maximum share of the time that a screen spends on reading the database."""
_MOST_FOOT: Final = 3
SLOW_S: Final = 10.0
"""A database that takes longer to answer is told to the user."""


@dataclass(frozen=True)
class Look(Generic[T]):
    """What was read last, and what is wrong since.

    Attributes:
        page: The last page that could be read.
        read_at_s: When it was read, in seconds of the monotonic clock.
        trouble: Why the database cannot be read now; empty if it can.
    """

    page: T
    read_at_s: float
    trouble: str = ""


class Reader(Generic[T]):
    """A thread that reads a page again and again, and waits while the database is away.

    Args:
        db: The database.
        read: Reads a page, given the one before.
        first: The first page.
        interval_s: Seconds between two pages; more if reading takes long.
    """

    def __init__(
        self, db: Database, read: Callable[[T], T], first: T, interval_s: float = 1.0
    ) -> None:
        self._db = db
        self._read = read
        self._interval_s = interval_s
        self._look = Look(first, time.monotonic())
        self._asked_at_s: float | None = None
        self._error: BaseException | None = None
        self._has_closed = threading.Event()
        # A read from a server that does not answer must not keep the process from leaving.
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def look(self) -> Look[T]:
        """Returns what was read last.

        Raises:
            BaseException: Reading failed, and waiting does not help.
        """
        if self._error is not None:
            raise self._error
        look, asked_at_s = self._look, self._asked_at_s
        if asked_at_s is not None and not look.trouble:
            waiting_s = time.monotonic() - asked_at_s
            if waiting_s > SLOW_S:
                told = f"it has not answered for {formatting.duration(round(waiting_s))}"
                return Look(look.page, look.read_at_s, told)
        return look

    @property
    def page(self) -> T:
        """The last page that could be read."""
        return self._look.page

    def close(self) -> None:
        """Ends the thread with its present read."""
        self._has_closed.set()

    def _run(self) -> None:
        pause_s = self._interval_s
        while not self._has_closed.wait(pause_s):
            pause_s = self._interval_s
            began_s = self._asked_at_s = time.monotonic()
            look = self._look
            try:
                self._look = Look(self._read(look.page), time.monotonic())
                took_s = time.monotonic() - began_s
                pause_s = max(self._interval_s, took_s / MAX_SHARE)
            except BaseException as error:  # noqa: BLE001 - the main thread raises it
                if not isinstance(error, StoreError) or not self._db.is_outage(error):
                    self._error = error
                    return
                self._look = Look(look.page, look.read_at_s, error.message)
            self._asked_at_s = None


def show_live(
    console: Screen,
    reader: Reader[T],
    draw: Callable[[T, int, int], list[Text]],
    has_ended: Callable[[T], bool],
    keyboard: Keyboard,
) -> None:
    """Redraws a page until it has ended or the user leaves; its last state stays on the terminal.

    Args:
        draw: Returns the lines of a page for a width and a height.
        has_ended: Returns whether a page is the last one.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    try:
        while not _shown(console, reader, draw, has_ended, keyboard):
            keyboard.suspend()
    except KeyboardInterrupt:
        _leave_page(console, reader.page, draw)
        raise
    finally:
        reader.close()
    _leave_page(console, reader.page, draw)


def _shown(
    console: Screen,
    reader: Reader[T],
    draw: Callable[[T, int, int], list[Text]],
    has_ended: Callable[[T], bool],
    keyboard: Keyboard,
) -> bool:
    """Shows the screen; returns False if the user suspends the process."""
    with (
        keyboard,
        Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False) as live,
    ):
        while not keyboard.is_suspending:
            look = reader.look()
            width, height = console.size
            foot = footer(look, time.monotonic(), width)
            lines = draw(look.page, width, max(1, height - len(foot)))
            lines += [Text()] * (height - len(foot) - len(lines))
            live.update(Text("\n").join([*lines, *foot]), refresh=True)
            if has_ended(look.page) or keyboard.pressed("q", REDRAW_S):
                return True
    return False


def footer(look: Look[T], now_s: float, width: int) -> list[Text]:
    """Returns the last lines: what is wrong with the database, or how to leave."""
    if not look.trouble:
        return [Text(cut(" q or Ctrl-C leaves; workers are not affected", width), style="dim")]
    age = formatting.duration(round(now_s - look.read_at_s))
    told = f" the page is {age} old; waiting for the database: {cell(look.trouble, 400)}"
    lines = list(broken(told, width))
    if len(lines) > _MOST_FOOT:
        lines = [*lines[: _MOST_FOOT - 1], f"{lines[_MOST_FOOT - 1][: width - 1]}{ELLIPSIS}"]
    return [Text(cut(line, width), style="bold red") for line in lines]


def _leave_page(console: Screen, page: T, draw: Callable[[T, int, int], list[Text]]) -> None:
    width, height = console.size
    for line in draw(page, width, height - 1):
        console.print(line, soft_wrap=True)
