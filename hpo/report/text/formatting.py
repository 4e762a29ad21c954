"""Formatting of numbers, times and durations for people. Pure functions."""

from __future__ import annotations

import datetime
import math
from typing import Any

NO_LIMIT = "none"
_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0))


def number(value: float | None, digits: int = 4) -> str:
    """Writes a measured value: ``0.9833``, ``12.34``, ``1.235e-05``; ``-`` for none.

    Args:
        digits: Significant digits if the value is not between 0.001 and 1.
    """
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    if 0.001 <= abs(value) < 1:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}g}"


def with_spread(value: float | None, spread: float | None) -> str:
    """Writes a mean with its standard deviation, if there is one: ``0.9833 ± 0.0042``."""
    return number(value) if spread is None else f"{number(value)} ± {number(spread)}"


def param(value: Any, digits: int = 3) -> str:
    """Writes the value of a parameter in a short form."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return str(value)


def count(value: int) -> str:
    """Writes a count with thousands separators: ``1,620``."""
    return f"{value:,}"


def limit(value: float | None) -> str:
    """Writes a limit of a budget: ``1,000``, ``0.5``, `NO_LIMIT`."""
    if value is None:
        return NO_LIMIT
    return f"{value:g}" if isinstance(value, float) else count(value)


def trials(
    n_finished: int, n_trials: int | None, budget: int | None, *, of: str = "/", what: str = ""
) -> str:
    """Writes the number of ended trials and of all planned trials: ``12/60``.

    Args:
        n_finished: Trials that have ended.
        n_trials: Number that will have ended when the budget is spent; None without a budget.
        budget: The budget as the user gave it. It is also written if it differs from
            ``n_trials``: it was lowered when more had ended, or trials were cancelled or
            retried.
        of: Text between the two numbers.
        what: Text after them.
    """
    if n_trials is None:
        return count(n_finished) + what
    total = max(n_finished, n_trials)
    given = n_trials if budget is None else budget
    note = "" if total == given else f" (budget {count(given)})"
    return f"{count(n_finished)}{of}{count(total)}{what}{note}"


def ago(moment: datetime.datetime | None, now: datetime.datetime) -> str:
    """Writes how long before ``now`` a moment was: ``3 s ago``.

    Args:
        moment: Naive UTC, as ``now`` is; a moment in the future reads ``now``.
    """
    if moment is None:
        return "-"
    seconds = (now - moment).total_seconds()
    return "now" if seconds < 1 else f"{duration(round(seconds))} ago"


def duration(seconds: float | None) -> str:
    """Writes a duration in its largest fitting unit: ``0.4 s``, ``12 s``, ``5 min``, ``3 h``."""
    if seconds is None:
        return "-"
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def clock(seconds: float) -> str:
    """Writes a duration as a clock shows it: ``0:00:09``, ``26:03:10``."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def rate(per_second: float, what: str = "trials") -> str:
    """Writes a rate in the unit of time that fits it: ``6.1 trials/s``."""
    for unit, size in (("s", 1.0), ("min", 60.0), ("h", 3600.0)):
        n = per_second * size
        if n >= 1 or unit == "h":
            written = f"{n:.2g}" if n < 100 else f"{n:,.0f}"
            # "1 trials/s" would be wrong grammar.
            return f"{'1.0' if written == '1' else written} {what}/{unit}"
    raise AssertionError("unreachable")


def utc_iso(moment: datetime.datetime | None) -> str | None:
    """Writes a naive UTC time for machines: ``2025-01-31T12:00:00.000000Z``."""
    return None if moment is None else moment.isoformat(timespec="microseconds") + "Z"


def last_line(message: str) -> str:
    """Returns the last line of a traceback that is not blank."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def utc_now() -> datetime.datetime:
    """Returns this machine's clock as naive UTC; good enough for a countdown."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
