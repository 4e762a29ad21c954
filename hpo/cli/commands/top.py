"""The command ``hpo top``: the studies and workers of a database."""

from __future__ import annotations

import click

from hpo.cli.options import Command, storage_option
from hpo.cli.screens.presentation import Presentation, screen_options
from hpo.store.db.opening import open_database


@click.command(cls=Command)
@storage_option
@screen_options
def top(storage: str | None, once: bool, form: str) -> None:
    """Watch all studies and workers of a database, the busy ones first.

    It exits with q or Ctrl-C. It changes nothing.
    """
    from hpo.cli.screens import database_screen
    from hpo.cli.screens.records import database_record
    from hpo.report.activity.database_activity import database_activity

    db = open_database(storage)
    Presentation(
        db,
        read=lambda _: database_activity(db),
        draw=lambda page, width, height: database_screen.lines(page, db.masked_url, width, height),
        record=lambda page: database_record(page, db.masked_url),
        has_ended=lambda _: False,
    ).show(form, once=once)
