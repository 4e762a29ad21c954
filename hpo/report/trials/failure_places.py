"""Failure places: the exception of a stored traceback, and the line of code that raised it.

A traceback may come from another machine, so paths are judged by their names alone.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import hpo

_FRAME: Final = re.compile(r'File "([^"\n]+)", line (\d+)(?:, in ([^\n]+))?')
_EXCEPTION: Final = re.compile(r"((?:\w+\.)*[A-Z]\w*)(?:: .*)?")
_INTERNAL: Final = re.compile(r" at (hpo/\S+\.py:\d+ in \w+); a fault of hpo")
_TRACEBACK: Final = "Traceback (most recent call last):"
_ROOMS: Final = frozenset(path.stem for path in Path(hpo.__file__).parent.iterdir()) - {"testing"}


class FailurePlace(NamedTuple):
    """What raised where.

    Attributes:
        exception: Name of the exception's class, such as ``ValueError``; empty if the message is
            not a traceback.
        place: The innermost line of the user's code, such as ``mine.py:12 in model``, or of hpo's
            for an internal error; empty if it is unknown.
    """

    exception: str
    place: str


def place_in(message: str) -> FailurePlace:
    """Reads the exception and its place from the message of an event.

    Args:
        message: A traceback, or its end; of a chain of exceptions the last one counts.
    """
    last = message[message.rfind(_TRACEBACK) :] if _TRACEBACK in message else message
    frames = list(_FRAME.finditer(last))
    rest = last[frames[-1].end() :] if frames else last
    exception = _exception_in(rest, is_traceback=bool(frames) or _TRACEBACK in message)
    internal = _INTERNAL.search(rest)
    if internal is not None:
        return FailurePlace(exception, internal[1])
    if not exception or not frames:
        return FailurePlace(exception, "")
    own = [frame for frame in frames if _is_users(frame[1])]
    return FailurePlace(exception, _written(own[-1] if own else frames[-1]))


def _exception_in(rest: str, *, is_traceback: bool) -> str:
    """Returns the class of the first line that names one; the lines of code are indented."""
    for line in rest.splitlines():
        found = _EXCEPTION.fullmatch(line.rstrip())
        if found and (is_traceback or found[1].endswith(("Error", "Exception"))):
            return found[1]
    return ""


def _written(frame: re.Match[str]) -> str:
    file, line, function = frame.groups()
    return f"{PurePosixPath(file).name}:{line}" + (f" in {function}" if function else "")


def _is_users(file: str) -> bool:
    path = PurePosixPath(file)
    parts = path.parts
    if file.startswith("<") or {"site-packages", "dist-packages"} & set(parts):
        return False
    if any(re.fullmatch(r"python3\.\d+", part) for part in parts[:-1]):
        return False
    # A checkout of hpo stands outside of site-packages.
    rooms = (after.removesuffix(".py") for name, after in pairwise(parts) if name == "hpo")
    return not any(room in _ROOMS for room in rooms)
