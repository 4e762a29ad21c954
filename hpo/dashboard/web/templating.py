"""Templating: the environment of the pages' templates, which escapes all that it inserts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hpo import __version__
from hpo.report.text import formatting
from hpo.report.text.printable import cell, visible_lines
from hpo.report.trials.ending_names import reason_name

_TEMPLATES: Final = Path(__file__).parent / "templates"
STATIC: Final = Path(__file__).parent / "static"
_LONGEST_NAME: Final = 120


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Returns the environment; text of the database never becomes markup."""
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["version"] = __version__
    found.filters |= {
        "ago": formatting.ago,
        "brief": lambda text: cell(formatting.last_line(text), 240),
        "count": formatting.count,
        "duration": formatting.duration,
        "measured": formatting.number,
        "named": lambda text: cell(text, _LONGEST_NAME),
        "param": formatting.param,
        "reason": reason_name,
    }
    return found


def _plain(value: Any) -> Any:
    """Replaces invisible characters in text of a database; Jinja escapes the rest."""
    return visible_lines(value) if type(value) is str else value
