"""Report page: the report of a study, rendered as HTML or Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hpo import __version__
from hpo.report.page import drawings, influence_sentences, sentences
from hpo.report.page.confirmed import confirmed
from hpo.report.page.page_tables import about, places, reasons, shares, top_trials, winner_params
from hpo.report.page.reproduction import reproduction_of
from hpo.report.page.study_report import StudyReport, read_report
from hpo.report.study_queries import Subject
from hpo.report.text.printable import visible, visible_lines
from hpo.store.db.database import Database

Form: TypeAlias = Literal["html", "md"]
FORMS: Final[tuple[Form, ...]] = ("html", "md")
_TEMPLATES: Final = Path(__file__).parent / "templates"
_MARKDOWN: Final = re.compile(r"([\\`*\[\]|]|(?<!\w)_|_(?!\w)|~~|^(?=[#+-].))")


def render(db: Database, subject: Subject, form: Form = "html") -> str:
    """Returns the report of a study as one page, which needs no other file and no network.

    Raises:
        StoreError: A row cannot be read.
    """
    return of_report(read_report(db, subject), form)


def of_report(report: StudyReport, form: Form = "html") -> str:
    """Returns a report as a page."""
    return _environment(form).get_template(f"report.{form}.jinja").render(_context(report, form))


def _context(report: StudyReport, form: Form) -> Mapping[str, Any]:
    found = {
        "about": about(report),
        "report": report,
        "version": __version__,
        "status": sentences.status(report),
        "headline": sentences.headline(report),
        "lead": sentences.lead(report),
        "unconfirmed": sentences.unconfirmed(report),
        "test": sentences.tested(report),
        "confirmation": confirmed(report),
        "edges": sentences.edges(report),
        "params": winner_params(report),
        "top": top_trials(report),
        "influences": [
            {
                "metric": each.trials.metric,
                "sentence": influence_sentences.mattered(each),
                "regions": influence_sentences.regions(each),
                "basis": influence_sentences.basis(each) if each.params else "",
                "params": each.params,
                "drawing": drawings.params(report, each) if form == "html" else None,
            }
            for each in report.influence
        ],
        "stopped": sentences.stopped(report),
        "pruned_reasons": reasons(report, "PRUNED"),
        "failures": sentences.failures(report),
        "failed_reasons": reasons(report, "FAIL"),
        "spent": sentences.spent(report),
        "occupied": sentences.occupied(report),
        "shares": shares(report),
        "places": places(report),
        "reproduction": reproduction_of(report),
    }
    if form == "html":
        found |= {name: getattr(drawings, name)(report) for name in ("history", "curves", "front")}
        found["style"] = Markup((_TEMPLATES / "report.css").read_text("utf-8"))
    return found


@lru_cache(maxsize=2)
def _environment(form: Form) -> Environment:
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_plain if form == "html" else _markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["fenced"] = _fenced
    return found


def _plain(value: Any) -> Any:
    """Replaces invisible characters in text of a database; Jinja escapes the rest."""
    return visible_lines(value) if type(value) is str else value


def _markdown(value: Any) -> Any:
    """Escapes what Markdown would read as its own, and what it would pass on as HTML."""
    if type(value) is not str:
        return value
    escaped = html.escape(visible(value), quote=False)
    return Markup(_MARKDOWN.sub(r"\\\1", escaped))


def _fenced(text: str, language: str = "") -> Markup:
    """Returns text as a block of code, whose fence is longer than any in it."""
    ticks = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return Markup(f"{fence}{language}\n{visible_lines(text).rstrip()}\n{fence}")
