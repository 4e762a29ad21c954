"""The command ``hpo watch``: a study while workers work on it."""

from __future__ import annotations

import click

from hpo.cli.options import Command, storage_option, study_argument
from hpo.cli.screens.presentation import Presentation, screen_options
from hpo.store.db.opening import open_database


@click.command(cls=Command)
@study_argument
@storage_option
@screen_options
def watch(name: str | None, storage: str | None, once: bool, form: str) -> None:
    """Watch a study from any machine: budget, best trial, running trials, workers, events.

    It exits when the study has ended, and with q or Ctrl-C. It changes nothing.
    """
    from hpo.cli.screens import study_screen
    from hpo.cli.screens.records import study_record
    from hpo.report.activity.study_activity import study_activity

    db = open_database(storage)
    Presentation(
        db,
        read=lambda known: study_activity(db, name, known),
        draw=lambda page, width, height: study_screen.lines(page, db.masked_url, width, height),
        record=study_record,
        has_ended=lambda page: page.has_ended,
    ).show(form, once=once)
