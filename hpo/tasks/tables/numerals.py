"""Numbers in written formats: ``45,312``, ``$1,200``, ``1.234,5``, ``92.8%``, ``(300)``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

_SYMBOLS: Final = "$€£¥₹₽₩₺₪฿₫₴₦"
_CODES: Final = (
    "USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|RUB|TRY|ZAR|KRW"
)
_PREFIX: Final = rf"[A-Z]{{0,3}}[{_SYMBOLS}]|{_CODES}|Rs\.?|kr\.?"
_SUFFIX: Final = rf"[%‰{_SYMBOLS}]|[^\W\d_](?:[^\W\d_]|[/²³°]){{0,11}}|°[CFK]?|[µμ][^\W\d_]{{1,4}}"
# A number with its separators, without sign and unit.
_BODY: Final = r"(?:\d[\d.,' ’]*|[.,]\d+)(?:[eE][+-]?\d+)?"
_WRITTEN: Final = re.compile(
    rf"(?P<sign>[+-]?)\s*(?P<prefix>{_PREFIX})?\s*(?P<second>[+-]?)"
    rf"(?P<body>{_BODY})\s*(?P<suffix>{_SUFFIX})?"
)
# Typographic minus signs, spaces and apostrophes.
_PLAIN_MARKS: Final = str.maketrans(
    {"−": "-", "–": "-", "\xa0": " ", "\u202f": " ", "\u2009": " ", "’": "'"}
)
_MULTIPLES: Final = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9}
_SOME_MULTIPLE: Final = "k/M/B"
# Thousands and decimal marks, in the order in which they are tried.
_MARKS: Final = (("", "."), (",", "."), (".", ","), (" ", "."), (" ", ","), ("'", "."))
_GROUPED: Final = {
    # Groups of two digits, as India writes them: 12,34,567.
    ",": r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}",
    ".": r"[1-9]\d{0,2}(?:\.\d{3})+",
    " ": r"[1-9]\d{0,2}(?: \d{3})+",
    "'": r"[1-9]\d{0,2}(?:'\d{3})+",
}


def _fitting(thousands: str, decimal: str) -> re.Pattern[str]:
    mark = re.escape(decimal)
    whole = rf"(?:{_GROUPED[thousands]}|\d+)" if thousands else r"\d+"
    return re.compile(rf"(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?")


_FITTING: Final = {marks: _fitting(*marks) for marks in _MARKS}


@dataclass(frozen=True)
class NumberFormat:
    """The format of the numbers of a column.

    Attributes:
        decimal: The decimal mark.
        thousands: The separator of thousands; empty for none.
        unit: The text before or after every number, such as ``$`` or ``%``; ``k/M/B`` if numbers
            have multipliers, such as 900k and 1.2M.
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""

    def read(self, text: str) -> float | None:
        """Returns a text as a number, or None if it is not in this format."""
        written = _parse(text)
        if written is None:
            return None
        factor = self._factor(written)
        if factor is None or not _FITTING[self.thousands, self.decimal].fullmatch(written.digits):
            return None
        plain = written.digits
        if self.thousands:
            plain = plain.replace(self.thousands, "")
        return written.sign * factor * float(plain.replace(self.decimal, "."))

    def _factor(self, written: _Written) -> float | None:
        """Returns the multiplier of a number's unit, or None if the unit differs."""
        head = self.unit.removesuffix(_SOME_MULTIPLE)
        if head != self.unit:
            return _MULTIPLES.get(written.tail) if written.head == head else None
        # A zero needs no unit.
        is_one = written.unit == self.unit or (not written.unit and written.is_zero)
        return 1.0 if is_one else None


PLAIN: Final = NumberFormat()


@dataclass(frozen=True)
class Formats:
    """Possible formats of the numbers of a column.

    Attributes:
        likely: One format, or two if a mark is ambiguous: the comma of ``1,234`` may be the
            decimal mark or separate thousands, and likewise the dot.
        comma: 1 if the comma must be the decimal mark, -1 if the dot must be, else 0.
    """

    likely: tuple[NumberFormat, ...]
    comma: int

    def chosen(self, *, decimal_comma: bool) -> NumberFormat:
        """Returns the format that matches the decimal mark of the table's other columns."""
        wanted = "," if decimal_comma else "."
        return next((f for f in self.likely if f.decimal == wanted), self.likely[0])


def find(texts: Iterable[str]) -> Formats | None:
    """Infers the formats in which all texts are numbers, or None if there is none."""
    found: list[_Written] = []
    for text in texts:
        written = _parse(text)
        if written is None:
            return None
        found.append(written)
    unit = _agreed(found)
    if unit is None or not found:
        return None
    all_digits = {written.digits for written in found}
    fitting = [m for m in _MARKS if all(map(_FITTING[m].fullmatch, all_digits))]
    if not fitting:
        return None
    # The first format of each decimal mark; the usual one if no number has a mark.
    has_marks = any(mark in digits for digits in all_digits for mark in ".,")
    by_decimal = {m[1]: m for m in reversed(fitting)} if has_marks else {".": fitting[0]}
    likely = [NumberFormat(m[1], m[0], unit) for m in sorted(by_decimal.values(), key=_MARKS.index)]
    is_told = has_marks and len(likely) == 1
    return Formats(tuple(likely), (1 if likely[0].decimal == "," else -1) if is_told else 0)


def plain(text: str, form: NumberFormat = PLAIN) -> float | None:
    """Returns a text as Python parses it as a number, or None."""
    if "_" in text or form.decimal != ".":
        return None
    try:
        return float(text)
    except ValueError:
        return None


def looks_like_one(text: str) -> bool:
    """Returns whether a text is a number in some format."""
    return _parse(text) is not None


class _Written(NamedTuple):
    """A number as written: sign, text before its digits, digits, text after them."""

    sign: float
    head: str
    digits: str
    tail: str

    @property
    def unit(self) -> str:
        return self.head or self.tail

    @property
    def is_zero(self) -> bool:
        return not any(c in "123456789" for c in self.digits)


def _parse(text: str) -> _Written | None:
    text = text.strip() if text.isascii() else text.translate(_PLAIN_MARKS).strip()
    sign = 1.0
    # Negative numbers in accounting notation.
    if text.startswith("(") and text.endswith(")"):
        text, sign = text[1:-1].strip(), -1.0
    elif text.endswith("-"):
        text, sign = text[:-1].rstrip(), -1.0
    match = _WRITTEN.fullmatch(text)
    if match is None:
        return None
    signs = match["sign"] + match["second"]
    head, tail = match["prefix"] or "", match["suffix"] or ""
    if len(signs) > 1 or (signs and sign < 0) or (head and tail not in _MULTIPLES):
        return None
    return _Written(-sign if signs == "-" else sign, head, match["body"].rstrip(), tail)


def _agreed(found: Iterable[_Written]) -> str | None:
    """Returns the common unit of all numbers, or None if they have several."""
    units = {(w.head, w.tail) for w in found if w.head or w.tail or not w.is_zero}
    heads, tails = {head for head, _ in units}, {tail for _, tail in units}
    if len(heads) <= 1 and tails - {""} and tails <= set(_MULTIPLES):
        return f"{heads.pop()}{_SOME_MULTIPLE}"
    return None if len(units) > 1 else "".join(next(iter(units), ("", "")))
