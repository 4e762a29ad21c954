"""Tailed file: the lines that are added to a file while another process writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 20
LONGEST_LINE: Final = 1 << 16
"""In bytes; the rest of a longer line is left out."""


class TailedFile:
    """Reads a file from its start, each line once.

    Args:
        path: The file; it may not exist yet, and may be replaced by a shorter one.
        carriage_returns: Whether they end lines, too, as in what a progress bar prints.
    """

    def __init__(self, path: Path, *, carriage_returns: bool = False) -> None:
        self.path = path
        self.n_lines = 0
        self._end = re.compile(rb"[\r\n]" if carriage_returns else rb"\n")
        self._offset = 0
        self._rest = b""

    def lines(self, *, final: bool = False) -> Iterator[bytes]:
        """Yields the lines that were completed since the last call.

        Args:
            final: Whether the file is complete, so that its end is the end of a line.
        """
        for chunk in self._chunks():
            *complete, rest = self._end.split(self._rest + chunk)
            self._rest = rest[:LONGEST_LINE]
            for line in complete:
                self.n_lines += 1
                yield line[:LONGEST_LINE]
        if final and self._rest:
            rest, self._rest = self._rest, b""
            self.n_lines += 1
            yield rest

    def _chunks(self) -> Iterator[bytes]:
        try:
            size = self.path.stat().st_size
            if size < self._offset:
                self._offset, self._rest, self.n_lines = 0, b"", 0
            if size == self._offset:
                return
            with self.path.open("rb") as file:
                file.seek(self._offset)
                # No more than there was at the start: it may grow faster than it is read.
                while self._offset < size and (chunk := file.read(_CHUNK)):
                    self._offset += len(chunk)
                    yield chunk
        except OSError:
            # It does not exist yet, or is a folder; a later call tries again.
            return


def last_lines(path: Path, n: int) -> list[str]:
    """Returns the last lines of a text file that are not empty; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - n * 4096))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    # The last state of a progress bar is what a terminal would show.
    lines = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n"))
    return [line for line in lines if line][-n:]
