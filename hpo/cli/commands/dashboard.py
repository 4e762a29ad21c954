"""The command ``hpo dashboard``: the database in a browser."""

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
    help="Port to listen on; 0 takes any free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Name or address to listen on.",
)
def dashboard(storage: str | None, port: int, host: str) -> None:
    """Open the database with optuna-dashboard, on this machine only."""
    # The dashboard takes a second to load: not for --help.
    from hpo.dashboard import is_loopback, serve
    from hpo.store.db.opening import open_database

    db = open_database(storage)
    if not is_loopback(host):
        logger.warning(
            "%s is not a loopback address: anyone who can reach it can read and delete every study",
            host,
        )

    def announce(url: str) -> None:
        say(f"{db.masked_url} at {url} · Ctrl-C ends it")

    try:
        serve(db, host, port, announce)
    except KeyboardInterrupt:
        say()
