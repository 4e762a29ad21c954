"""The command ``hpo report``: writes the report of a study as one page."""

from __future__ import annotations

import re
from pathlib import Path

import click

from hpo.cli.messages import say
from hpo.cli.options import Command, OutputFile, storage_option, study_argument
from hpo.cli.output import writing
from hpo.report.study_queries import find
from hpo.store.db.opening import open_database

ENDINGS = ("html", "md")


@click.command(cls=Command)
@study_argument
@storage_option
@click.option(
    "-o",
    "--output",
    type=OutputFile(ENDINGS),
    metavar="FILE",
    help="File to write, .html or .md; by default STUDY-report.html.",
)
def report(name: str | None, storage: str | None, output: Path | None) -> None:
    """Write a page about a study: the best trial, what mattered, what it cost, how to repeat it.

    The page is one file, which opens without a network, and prints well.
    """
    db = open_database(storage)
    subject = find(db, name)
    path = output or Path(re.sub(r"[^\w.-]+", "-", subject.name)[:100] + "-report.html")
    # They load matplotlib and scikit-learn, which errors of the name do not need.
    from hpo.report.page.report_page import render

    text = render(db, subject, "md" if path.suffix.lower() == ".md" else "html")
    with writing(path):
        path.write_text(text, encoding="utf-8")
    say(f"wrote {path}")
