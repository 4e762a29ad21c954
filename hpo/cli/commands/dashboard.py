"""``hpo dashboard``: the database in a browser."""

from __future__ import annotations

import logging

import click

from hpo.cli.messages import say
from hpo.cli.options import Command, storage_option

logger = logging.getLogger(__name__)


@click.command(cls=Command)
@storage_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=8080,
    show_default=True,
    help="0 takes any free port.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where to listen.",
)
def dashboard(storage: str | None, port: int, host: str) -> None:
    """Open the database with optuna-dashboard, for this machine only."""
    # The dashboard takes a second to load: not for --help.
    from hpo.dashboard import is_loopback, serve
    from hpo.store.db.opening import open_database

    db = open_database(storage)
    if not is_loopback(host):
        logger.warning(
            "%s is no loopback address: whoever reaches it may read and delete every study", host
        )

    def announce(url: str) -> None:
        say(f"{db.masked_url} at {url} · Ctrl-C ends it")

    try:
        serve(db, host, port, announce)
    except KeyboardInterrupt:
        say()
