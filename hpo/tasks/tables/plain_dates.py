"""Plain dates: dates, times of day and durations read without pandas, as pandas reads them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Final

_ISO_PATTERN: Final = "ISO8601"
_ISO_DAY: Final = (
    r"(?P<Y>\d{4})(?:(?P<separator>[-/. ])(?P<m>\d\d?)(?P=separator)(?P<d>\d\d?)"
    r"|(?P<m2>\d\d)(?P<d2>\d\d))"
)
_ISO_MONTH: Final = re.compile(r"(?P<Y>\d{4})(?:[-/. ](?P<m>\d\d?))?")
_ISO_CLOCK: Final = (
    r"(?P<H>\d\d?)(?::(?P<M>\d\d?)(?::(?P<S>\d\d?)(?:\.(?P<f>\d{1,18}))?)?"
    r"|(?P<M2>\d\d)(?P<S2>\d\d)?)?"
)
_ISO_ZONE: Final = r"\s?(?P<z>Z|z|[+-]\d\d(?::?\d\d)?)?"
_ISO_WHOLE: Final = re.compile(rf"{_ISO_DAY}(?:[T ]{_ISO_CLOCK}{_ISO_ZONE})?")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_DIRECTIVES: Final = {
    "%Y": r"(?P<Y>\d{4})",
    "%y": r"(?P<y>\d\d)",
    "%m": r"(?P<m>1[0-2]|0[1-9]|[1-9])",
    "%d": r"(?P<d>3[01]|[12]\d|0[1-9]|[1-9])",
    "%b": rf"(?P<b>{'|'.join(name[:3] for name in _MONTHS)})",
    "%B": rf"(?P<b>{'|'.join(_MONTHS)})",
    "%H": r"(?P<H>2[0-3]|[01]\d|\d)",
    "%I": r"(?P<H>1[0-2]|0[1-9]|[1-9])",
    "%M": r"(?P<M>[0-5]\d|\d)",
    "%S": r"(?P<S>6[01]|[0-5]\d|\d)",
    "%f": r"(?P<f>\d{1,9})",
    "%p": r"(?P<p>am|pm)",
}
_CLOCK_TIME: Final = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?\s*([AaPp][Mm])?")
_DURATION: Final = re.compile(
    r"(?P<sign>-)?(?:(?P<days>\d+) days?,? ?)?(?P<plus>[+-])?"
    r"(?:(?P<h>\d+):(?P<m>\d{1,2}):(?P<s>\d{1,2}(?:\.\d+)?))?"
)


def parse_date(text: str, pattern: str) -> datetime | None:
    """Returns a text as a date in UTC, or None if it is none in this format or in ISO 8601.

    Args:
        text: A cell without spaces around it.
        pattern: Format for ``strptime``, or ``ISO8601``.
    """
    for one in dict.fromkeys((pattern, _ISO_PATTERN)):
        match = _date_pattern(one).fullmatch(text)
        if match is None and one == _ISO_PATTERN:
            match = _ISO_MONTH.fullmatch(text)
        found = None if match is None else _date_of(match)
        if found is not None:
            return found
    return None


def date_part(date: datetime, part: str) -> float:
    """Returns a part of a date as a number, by the suffix of its feature's name."""
    return _PARTS[part](date)


def hours(text: str) -> float | None:
    """Returns a time of day such as ``08:15`` or ``8:15 pm`` in hours, None for anything else."""
    match = _CLOCK_TIME.fullmatch(text)
    if match is None:
        return None
    hour, half = int(match[1]), (match[4] or "").lower()
    if hour > (12 if half else 24):
        return None
    if half:
        hour = hour % 12 + 12 * (half == "pm")
    return hour + int(match[2]) / 60 + float(match[3] or 0) / 3600


def duration_s(text: str) -> float | None:
    """Returns a duration such as ``1 days 02:03:04.5`` in seconds, None for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None or not (match["days"] or match["h"]):
        return None
    clock = 0.0
    if match["h"]:
        clock = int(match["h"]) * 3600 + int(match["m"]) * 60 + float(match["s"])
    days = int(match["days"] or 0) * 86_400
    # As pandas writes a negative one: -1 days +23:59:59.
    if match["sign"] and match["plus"] == "+":
        return clock - days
    return -(days + clock) if match["sign"] else days + clock


@cache
def _date_pattern(pattern: str) -> re.Pattern[str]:
    if pattern == _ISO_PATTERN:
        return _ISO_WHOLE
    parts = re.split(r"(%[YymdbBHIMSfp])", pattern)
    return re.compile("".join(_DIRECTIVES.get(p) or _literal(p) for p in parts), re.IGNORECASE)


def _literal(text: str) -> str:
    return r"\s+".join(re.escape(word) for word in text.split(" "))


def _date_of(match: re.Match[str]) -> datetime | None:
    found = {key[0]: value for key, value in match.groupdict().items() if value}
    year = int(found.get("Y") or 0)
    if "y" in found:
        short = int(found["y"])
        year = short + (2000 if short < 69 else 1900)
    month = int(found.get("m") or 1)
    if "b" in found:
        month = next(i for i, n in enumerate(_MONTHS, 1) if n[:3] == found["b"][:3].lower())
    hour = int(found.get("H") or 0)
    if "p" in found:
        hour = hour % 12 + 12 * (found["p"].lower() == "pm")
    clock = (hour, int(found.get("M") or 0), int(found.get("S") or 0))
    try:
        date = datetime(year, month, int(found.get("d") or 1), *clock, tzinfo=timezone.utc)  # noqa: UP017 - older Pythons read this, too
        return date - _zone(found.get("z", "Z"))
    except (ValueError, OverflowError):
        return None


def _zone(text: str) -> timedelta:
    if text in "Zz":
        return timedelta()
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -offset if text[0] == "-" else offset


def _days_since_1970(date: datetime) -> float:
    since = date - datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017
    return (since.days * 86_400 + since.seconds) / 86_400


_PARTS: Final[dict[str, Callable[[datetime], float]]] = {
    " (day)": _days_since_1970,
    " (month)": lambda date: float(date.month),
    " (weekday)": lambda date: float(date.weekday()),
    " (hour)": lambda date: float(date.hour),
}
