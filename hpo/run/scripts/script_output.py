"""Script output: the file in the trial's folder that has all that its command printed."""

from __future__ import annotations

import contextlib
import datetime
import re
from itertools import islice
from pathlib import Path
from typing import Final

OUTPUT: Final = "output.log"
_LOGS: Final = (".csv", ".jsonl", ".log")
_MOST_FILES: Final = 10_000
_ESCAPES: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"
)


def without_escapes(text: str) -> str:
    """Returns text without the sequences that colour it or move the cursor of a terminal."""
    return _ESCAPES.sub("", text)


def shown_line(line: bytes) -> str:
    """Returns a line of an output as a terminal would show it in the end, without colours.

    Of a progress bar this is the last state. The text may have invisible characters.
    """
    text = without_escapes(line.decode(errors="replace"))
    return text.rstrip("\r").rpartition("\r")[2]


def note_resumed(output: Path) -> None:
    """Adds a line to an output that a command continues; none to one that begins.

    Raises:
        OSError: It cannot be written.
    """
    if not _size(output):
        return
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    with output.open("a", encoding="utf-8") as file:
        file.write(f"{'' if ends_with_newline(output) else chr(10)}--- hpo: resumed at {now} ---\n")


def end_last_line(path: Path) -> None:
    """Ends a line that a killed process has half written, so that the next one is whole.

    Raises:
        OSError: It cannot be written.
    """
    if _size(path) and not ends_with_newline(path):
        with path.open("ab") as file:
            file.write(b"\n")


def saved_files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Returns when the files of a trial were changed, and their sizes; not those of logs.

    Logs grow all the time, and can be cut off anywhere.
    """
    found: dict[Path, tuple[int, int]] = {}
    for path in islice(folder.rglob("*"), _MOST_FILES):
        if path.suffix in _LOGS or "tfevents" in path.name:
            continue
        with contextlib.suppress(OSError):
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def ends_with_newline(path: Path) -> bool:
    """Returns whether the last byte of a file is a line feed; True if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"
    except OSError:
        return True


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
