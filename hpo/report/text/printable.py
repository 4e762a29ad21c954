"""Printable text: text of other people made safe to print. Pure functions.

Names, messages and parameters come from databases that many people write to, and from their code.
A terminal executes control characters in them: it clears its screen, changes its title, writes the
clipboard, reverses the order of letters. So each invisible character is replaced by one visible
character in text for a terminal; formats for programs escape it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

ELLIPSIS = "…"
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_PICTURES = 0x2400
"""First of Unicode's symbols for the first 32 control characters: ␀ to ␟."""


class _Shown(dict[int, str]):
    """The shown character by code point, computed at the first use."""

    def __missing__(self, code: int) -> str:
        self[code] = _shown(code)
        return self[code]


class _Escaped(dict[int, str]):
    """The same, as a format for programs escapes it.

    Args:
        wide: How it writes characters beyond the first 65,536, by number.
    """

    def __init__(self, wide: Callable[[int], str]) -> None:
        super().__init__()
        self._wide = wide

    def __missing__(self, code: int) -> str:
        escape = self._wide if code > 0xFFFF else "\\u{:04x}".format
        self[code] = chr(code) if _is_visible(code) else escape(code)
        return self[code]


def _pair(code: int) -> str:
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


_SHOWN = _Shown()
_ESCAPED = {"json": _Escaped(_pair), "toml": _Escaped("\\U{:08x}".format)}
_NOT_STRUCTURE = re.compile(r"[^\n]+")


def visible(text: str) -> str:
    """Replaces invisible characters, including line breaks, for text of one line."""
    return text if text.isprintable() else text.translate(_SHOWN)


def visible_lines(text: str) -> str:
    """Replaces invisible characters except line feeds."""
    return text if text.isprintable() else _NOT_STRUCTURE.sub(lambda m: visible(m[0]), text)


def escaped(text: str, keep: str = "\n", form: Literal["json", "toml"] = "json") -> str:
    r"""Escapes invisible characters as a format for programs does: ``\u001b``.

    Args:
        text: JSON or TOML, which has such characters in quoted strings only; or a cell.
        keep: Characters that stay.
        form: The format whose escapes are used.
    """
    if text.isprintable():
        return text
    return re.sub(f"[^{re.escape(keep)}]+", lambda m: m[0].translate(_ESCAPED[form]), text)


def clipped(text: str, limit: int) -> str:
    """Shortens text to ``limit`` characters: its start, an ellipsis, and part of its end."""
    if len(text) <= limit:
        return text
    n_end = limit // 4
    return text[: limit - n_end - len(ELLIPSIS)] + ELLIPSIS + text[len(text) - n_end :]


def cell(text: str, limit: int) -> str:
    """Returns text for one line of bounded length."""
    # Shorten first: a message may have a hundred thousand letters.
    return visible(clipped(text, limit))


def _is_visible(code: int) -> bool:
    char = chr(code)
    # Python calls spaces of other widths not printable, but they are harmless.
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _shown(code: int) -> str:
    if _is_visible(code):
        return chr(code)
    if code == ord("\t"):
        return " "
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    return chr(_PICTURES + code) if code < 0x20 else _UNKNOWN
