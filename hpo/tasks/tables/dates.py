"""Dates and times of day in written formats: ``31/12/2020``, ``01.01.2021``, ``5 Mar 2021``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import Series

ISO: Final = "ISO8601"
PARTS: Final = (" (day)", " (month)", " (weekday)", " (hour)")
"""Parts of a date that become features, as suffixes of their names."""
_ISO_TEXT: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?")
_GROUPS: Final = re.compile(r"(\d{1,2}|\d{4})([-/.])(\d{1,2})\2(\d{1,2}|\d{4})((?:[T ].*)?)")
_N_YEAR: Final = 4
# Whole dates whose month is a word, and months alone.
_WORDS: Final = (
    "%d %b %Y",
    "%d %B %Y",
    "%d. %B %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%b %Y",
    "%B %Y",
    "%b-%Y",
    "%b-%y",
    "%Y-%m",
    "%Y/%m",
    "%m/%Y",
)
_TIMES: Final = (" %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
_WORD_LIKE: Final = re.compile(
    r"(?:\d{1,2}[ .-]{1,2}[A-Za-z]{3,9}[ -]\d{2,4}|[A-Za-z]{3,9}[ -](?:\d{1,2},? )?\d{2,4}"
    r"|\d{4}[-/]\d{1,2}|\d{1,2}/\d{4})(?: \d{1,2}:\d{2}.*)?"
)
_TIME: Final = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?\s*([AaPp][Mm])?")
# Words for the directives of ``strptime``.
_IN_WORDS: Final = {
    "%Y": "year",
    "%y": "year",
    "%m": "month",
    "%b": "month",
    "%B": "month",
    "%d": "day",
}


@dataclass(frozen=True)
class DateFormat:
    """The format of the dates of a column.

    Attributes:
        pattern: Format for ``strptime``, or ``ISO8601``; empty if day and month are ambiguous.
    """

    pattern: str

    def read(self, texts: Series) -> Series:
        """Returns texts as dates, with NaT for those that are not in this format."""
        return pd.to_datetime(texts, errors="coerce", utc=True, format=self.pattern)

    @property
    def in_words(self) -> str:
        """The order of a date's numbers, such as ``day/month/year``."""
        if self.pattern == ISO:
            return "year-month-day"
        words = self.pattern
        for mark, word in _IN_WORDS.items():
            words = words.replace(mark, word)
        return words.partition(" %")[0].partition("T%")[0]


UNCLEAR: Final = DateFormat("")


def find(texts: Sequence[str]) -> DateFormat | None:
    """Infers the format in which all texts are dates.

    Returns:
        None if they are not dates, ``UNCLEAR`` if day and month are ambiguous.
    """
    first = texts[0]
    if _ISO_TEXT.fullmatch(first) and (found := _if_all(texts, [ISO])):
        return found
    if _GROUPS.fullmatch(first):
        return _of_groups(texts)
    if _WORD_LIKE.fullmatch(first):
        return _if_all(texts, [word + time for time in ("", *_TIMES[:4]) for word in _WORDS])
    return None


def looks_like_one(text: str) -> bool:
    """Returns whether a text looks like a date."""
    return any(kind.fullmatch(text) for kind in (_ISO_TEXT, _GROUPS, _WORD_LIKE))


def all_parts(found: Series) -> dict[str, NDArray[np.float64]]:
    """Returns the parts of dates that become features, by the name of the part."""
    # In whole seconds, because nanoseconds end in 2262, and files say 9999 for "never".
    since_1970 = found.dt.as_unit("s") - pd.Timestamp(0, tz="UTC").as_unit("s")
    values = (
        since_1970.dt.total_seconds() / 86_400,
        found.dt.month,
        found.dt.day_of_week,
        found.dt.hour,
    )
    arrays = (np.asarray(part, dtype=np.float64) for part in values)
    return dict(zip(PARTS, arrays, strict=True))


def hours(text: str) -> float | None:
    """Returns a time of day such as ``08:15`` or ``8:15 pm`` in hours, None for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, half = int(match[1]), (match[4] or "").lower()
    if hour > (12 if half else 24):
        return None
    if half:
        hour = hour % 12 + 12 * (half == "pm")
    return hour + int(match[2]) / 60 + float(match[3] or 0) / 3600


def _of_groups(texts: Sequence[str]) -> DateFormat | None:
    """Infers the format of dates of three numbers, by values that only a day or a year can have."""
    found = [_GROUPS.fullmatch(text) for text in texts]
    groups = [match for match in found if match is not None]
    if len(groups) < len(texts) or len({(g[2], len(g[1]) == _N_YEAR) for g in groups}) > 1:
        return None
    mark, times = groups[0][2], ("", *_TIMES) if groups[0][5] else ("",)
    if len(groups[0][1]) == _N_YEAR:
        return _if_all(texts, [f"%Y{mark}%m{mark}%d{time}" for time in times])
    is_short = len(groups[0][4]) != _N_YEAR
    if is_short and any(len(g[i]) != 2 for g in groups for i in (1, 3, 4)):
        # Probably a version or a chapter: 1.2.13.
        return None
    first, second = ({int(g[i]) for g in groups} for i in (1, 3))
    year = "%y" if is_short else "%Y"
    order = _order(first, second, mark)
    if order is None:
        return UNCLEAR
    return _if_all(texts, [f"{mark.join(order)}{mark}{year}{time}" for time in times])


def _order(first: set[int], second: set[int], mark: str) -> tuple[str, str] | None:
    """Returns the directives of the first two numbers of dates, or None if they are ambiguous."""
    day_first, month_first = ("%d", "%m"), ("%m", "%d")
    if max(first) > 12:
        return day_first
    if max(second) > 12:
        return month_first
    if mark == ".":
        return day_first
    # The first of every month: the day is constant while the month varies.
    if first == {1} and len(second) > 1:
        return day_first
    return month_first if second == {1} and len(first) > 1 else None


def _if_all(texts: Sequence[str], patterns: Sequence[str]) -> DateFormat | None:
    """Returns the first of the formats in which all texts are dates."""
    sample = Series(texts[:1], dtype=object)
    for pattern in patterns:
        found = DateFormat(pattern)
        if found.read(sample).notna().all():
            whole = found.read(Series(texts, dtype=object))
            if whole.notna().all():
                return found
    return None
