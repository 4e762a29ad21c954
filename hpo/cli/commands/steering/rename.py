"""The command ``hpo rename``: renames a study."""

from __future__ import annotations

import click

from hpo.cli.messages import say
from hpo.cli.options import Command, storage_option
from hpo.report.study_queries import find
from hpo.store.db.opening import open_database
from hpo.store.studies import renaming


@click.command(cls=Command)
@click.argument("name", metavar="STUDY")
@click.argument("new_name", metavar="NEW")
@storage_option
def rename(name: str, new_name: str, storage: str | None) -> None:
    """Rename a study, even while workers work on it.

    Its files stay where they are. A study file that still has the old name starts a new study.
    """
    db = open_database(storage)
    renaming.rename(db, find(db, name).study_id, new_name)
    say(f"{name} is now called {new_name}")
