"""Value kinds: each reads one value of a study, or records why the value is wrong."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from hpo.errors import did_you_mean
from hpo.spec.values.findings import Findings, listed, show

WRONG: Final[Any] = object()
"""Returned in place of a wrong value; the findings have the reason."""

# Counts are stored in 32-bit columns.
LARGEST_COUNT: Final = 1_000_000_000
_MAX_TEXT = 500
# Half of the largest float, so that the difference of two is finite.
_LARGEST: Final = 2.0**1023


class ValueKind(Protocol):
    """A kind of value, which reads and checks one."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns the value in its normal form, or records a mistake and returns ``WRONG``."""


@dataclass(frozen=True)
class Whole:
    """A whole number; bounds are inclusive."""

    low: int | None = None
    high: int = 2**63 - 1

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns an int within the bounds, or ``WRONG``."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            return wrong(findings, f"must be a whole number; found {show(value)}")
        number = int(value)
        if self.low is not None and number < self.low:
            return wrong(findings, f"must be at least {self.low:,}; found {show(number)}")
        if number > self.high:
            return wrong(findings, f"must be at most {self.high:,}; found {show(number)}")
        return number


@dataclass(frozen=True)
class Number:
    """A finite number, read as a float.

    Args:
        low: Smallest value.
        high: Largest value.
        low_open: Excludes ``low``.
        high_open: Excludes ``high``.
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns a finite float within the bounds, or ``WRONG``."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return wrong(findings, f"must be a number; found {show(value)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        # The distance between two bounds must be finite too.
        if math.isfinite(number) and abs(number) > _LARGEST:
            return wrong(findings, f"must be at most {_LARGEST:.2g} in size; found {show(value)}")
        if not math.isfinite(number):
            return wrong(findings, f"must be a finite number; found {show(value)}")
        too_low = number <= self.low if self.low_open else number < self.low
        too_high = number >= self.high if self.high_open else number > self.high
        if too_low or too_high:
            return wrong(findings, f"must be {self._wanted()}; found {show(value)}")
        return number

    def _wanted(self) -> str:
        above = f"{'above' if self.low_open else 'at least'} {self.low:,g}"
        below = f"{'below' if self.high_open else 'at most'} {self.high:,g}"
        bounds = [above] * math.isfinite(self.low) + [below] * math.isfinite(self.high)
        return " and ".join(bounds)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns a bool, or ``WRONG``."""
        if not isinstance(value, bool):
            return wrong(findings, f"must be true or false; found {show(value)}")
        return value


@dataclass(frozen=True)
class Word:
    """One of a few words."""

    allowed: tuple[str, ...]

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns one of the allowed words, or ``WRONG``."""
        if not isinstance(value, str) or value not in self.allowed:
            allowed = listed(self.allowed, "or")
            return wrong(findings, f"must be {allowed}; found {show(value)}")
        return value


@dataclass(frozen=True)
class Text:
    """One line of printable text."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns printable text, or ``WRONG``."""
        if not isinstance(value, str):
            return wrong(findings, f"must be text; found {show(value)}")
        if not value.strip():
            return wrong(findings, "must not be empty")
        if len(value) > _MAX_TEXT:
            return wrong(findings, f"must be at most {_MAX_TEXT} characters long")
        if not value.isprintable() or value != value.strip():
            return wrong(findings, f"must be printable, no spaces around it; found {show(value)}")
        return value


@dataclass(frozen=True)
class StudyName:
    """The name of a study, which is used in commands, URLs and folder names."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns a name that commands, URLs and folders can hold, or ``WRONG``."""
        name = Text().read(value, findings)
        if name is WRONG:
            return WRONG
        if len(name) > 200:
            return wrong(findings, f"must be at most 200 characters long; it has {len(name)}")
        if "/" in name or "\\" in name:
            return wrong(findings, f"must have no slashes; found {show(name)}")
        if name.startswith("-") or name in (".", ".."):
            return wrong(findings, f"must not begin with - nor be . or ..; found {show(name)}")
        return name


@dataclass(frozen=True)
class WordOrWhole:
    """A whole number, or one word in its place."""

    word: str
    whole: Whole

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns the word or an int, or ``WRONG``."""
        if isinstance(value, str):
            if value == self.word:
                return value
            return wrong(findings, f'must be a whole number or "{self.word}"; found {show(value)}')
        return self.whole.read(value, findings)


@dataclass(frozen=True)
class WordOrFlag:
    """True or false, or one word in their place."""

    word: str

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns the word or a bool, or ``WRONG``."""
        if isinstance(value, bool) or (isinstance(value, str) and value == self.word):
            return value
        return wrong(findings, f'must be true, false or "{self.word}"; found {show(value)}')


@dataclass(frozen=True)
class OneOrSeveral:
    """One value or a list of them, read as a tuple."""

    kind: ValueKind
    unique: bool = False

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns a tuple of values, or ``WRONG``."""
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            return wrong(findings, "must not be an empty list")
        read = tuple(self.kind.read(item, findings) for item in values)
        if any(item is WRONG for item in read):
            return WRONG
        if self.unique and len(set(read)) < len(read):
            return wrong(findings, f"must not name one twice; found {show(values)}")
        return read


def read_table(
    table: Any, kinds: Mapping[str, ValueKind], findings: Findings, what: str = "key"
) -> dict[str, Any]:
    """Reads the known keys of a table, and records unknown ones.

    Args:
        table: The study's entry, which must be a table.
        kinds: The kind of each known key.
        findings: Collects the mistakes.
        what: Noun for an unknown key in messages.

    Returns:
        The valid values. None, which Python code may pass, counts as missing.
    """
    if not isinstance(table, Mapping):
        findings.add(f"must be a table; found {show(table)}")
        return {}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in kinds:
            findings.add(unknown(str(key), kinds, what), str(key))
        elif value is not None:
            read = kinds[key].read(value, findings.below(key))
            if read is not WRONG:
                values[key] = read
    return values


def unknown(name: str, allowed: Collection[str], what: str = "key") -> str:
    """Returns the message about an unknown name, with the nearest name or all allowed ones."""
    hint = did_you_mean(name, allowed)
    return f"unknown {what}{hint}" if hint else f"unknown {what}; allowed: {', '.join(allowed)}"


def wrong(findings: Findings, message: str) -> Any:
    """Records one mistake and returns ``WRONG``."""
    findings.add(message)
    return WRONG
