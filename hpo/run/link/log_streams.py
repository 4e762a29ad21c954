"""Log streams: a worker's standard output and error, whose full disk must not end trials."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

_NAMES = ("stdout", "stderr")


class _LossyFile(io.RawIOBase):
    """Writes to a file as far as its disk takes it, and drops the rest."""

    def __init__(self, number: int) -> None:
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def write(self, data: bytes) -> int:  # type: ignore[override]
        with contextlib.suppress(OSError):
            os.write(self._number, data)
        return len(data)


def ignore_write_errors() -> None:
    """Lets ``print`` and logs of this process succeed even where their file cannot be written.

    Otherwise a line that user code prints could raise in its trial; so could one that cannot be
    encoded.
    """
    for number, name in enumerate(_NAMES, start=1):
        with contextlib.suppress(OSError, ValueError):
            getattr(sys, name).flush()
        buffered = io.BufferedWriter(_LossyFile(number))  # type: ignore[type-var]
        stream = io.TextIOWrapper(
            buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        setattr(sys, name, stream)


def open_log(path: Path) -> int:
    """Opens a log to append to; the null device where its folder takes no files.

    Returns:
        A file descriptor.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
