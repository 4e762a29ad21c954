"""Logger journal: which trials of a study a logger has finished, kept in a file."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class LoggerJournal:
    """Remembers across restarts what need not be looked at again.

    How far the curve of an unfinished trial is, only the place says that the logger writes to: a
    process may be killed between writing there and writing here.

    Args:
        path: The file; None keeps nothing.

    Attributes:
        is_new: Whether there was no file.
        best: The best value of a complete trial so far.
        ending: The study's ending that was told, as state and reason; empty for none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        found = _read(path)
        self.is_new = found is None
        found = found or {}
        self._below = int(found.get("ended_below", 0))
        self._ended: set[int] = set(found.get("ended", ()))
        self.best: float | None = found.get("best")
        self.best_number: int | None = found.get("best_number")
        self.ending: str = found.get("ending", "")
        self._is_changed = self.is_new

    def has_ended(self, number: int) -> bool:
        """Returns whether the end of a trial was logged."""
        return number < self._below or number in self._ended

    def note_ended(self, number: int) -> None:
        """Notes that the end of a trial was logged."""
        self._ended.add(number)
        while self._below in self._ended:
            self._ended.remove(self._below)
            self._below += 1
        self._is_changed = True

    def note_best(self, number: int, value: float) -> None:
        """Notes the best trial so far."""
        self.best_number, self.best, self._is_changed = number, value, True

    def note_ending(self, text: str) -> None:
        """Notes the study's ending that was told; empty once it is continued."""
        if text != self.ending:
            self.ending, self._is_changed = text, True

    def save(self) -> None:
        """Writes the file, all at once or not at all; a disk that takes nothing is no error."""
        if self._path is None or not self._is_changed:
            return
        content = {
            "ended_below": self._below,
            "ended": sorted(self._ended),
            "best": self.best,
            "best_number": self.best_number,
            "ending": self.ending,
        }
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(content), "utf-8")
            part.replace(self._path)
        except OSError as error:
            logger.info("the journal %s is not written: %s", self._path, error)
            return
        self._is_changed = False


def _read(path: Path | None) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8")) if path is not None else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        # Then the places themselves are asked what they have.
        logger.info("the journal %s is not read: %s", path, error)
        return None
    return found if isinstance(found, dict) else None
