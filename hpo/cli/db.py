"""``hpo db``: the schema of a database."""

from __future__ import annotations

import click

from hpo.cli.options import Command, Group, storage_option
from hpo.errors import StoreError
from hpo.store import migrations
from hpo.store.database import Database


@click.group(cls=Group)
def db() -> None:
    """Upgrade or check the schema of a database.

    A new database is made by `hpo run` without asking; an old one is changed by `hpo db upgrade`
    and by nothing else.
    """


@db.command(cls=Command)
@storage_option
def upgrade(storage: str | None) -> None:
    """Bring the schema up to date, making what is missing."""
    database = Database(storage)
    migrations.upgrade(database)
    click.echo(f"{database.masked_url} is at revision {migrations.current(database)}")


@db.command(cls=Command)
@storage_option
def current(storage: str | None) -> None:
    """Say which revision the schema has."""
    database = Database.connect(storage)
    revision, head = migrations.current(database), migrations.head()
    if revision is None:
        click.echo(f"{database.masked_url} has no tables of hpo")
    else:
        note = "the newest" if revision == head else f"the newest is {head}"
        click.echo(f"{database.masked_url} is at revision {revision}, {note}")


@db.command(cls=Command)
@storage_option
def check(storage: str | None) -> None:
    """Compare the schema with what this version of hpo expects."""
    database = Database.connect(storage)
    found = migrations.check(database)
    if found:
        listed = "".join(f"\n  {line}" for line in found)
        raise StoreError(f"{database.masked_url} is not as it should be:{listed}")
    click.echo(f"{database.masked_url} is as it should be")
