"""Texts of plots: names and messages of others, made safe for each library.

They come from a database that others write to. matplotlib reads formulas between dollar signs, and
plotly.js reads tags and entities in each text.
"""

from __future__ import annotations

import html
import re
from typing import Final

from hpo.report.text.printable import cell

LONGEST_NAME: Final = 40
_LONGEST_LINE: Final = 300


def plain(text: str) -> str:
    """Writes a line of text for a picture by matplotlib."""
    return _printable(text).replace("$", r"\$")


def escaped(text: str) -> str:
    """Writes a line of text for HTML by plotly."""
    return html.escape(_printable(text), quote=False)


def short(name: str) -> str:
    """Shortens a name, which may be long."""
    return cell(name, LONGEST_NAME)


def _printable(text: str) -> str:
    # Fonts of plots have no symbols for control characters.
    return re.sub("[\u2400-\u2421]", "\N{REPLACEMENT CHARACTER}", cell(text, _LONGEST_LINE))
