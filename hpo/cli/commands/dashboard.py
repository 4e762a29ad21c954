"""The command ``hpo dashboard``: the database in a browser."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from hpo.cli.messages import say
from hpo.cli.options import Command, storage_option
from hpo.errors import SpecError

logger = logging.getLogger(__name__)

_FILE = click.Path(dir_okay=False, path_type=Path)


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
    help="Name or address to listen on. Where other machines reach it, a token is required: "
    "$HPO_DASHBOARD_TOKEN, or one that is printed.",
)
@click.option(
    "--allow-edit",
    is_flag=True,
    help="Allow the pages to rename, delete and change studies; by default they only read.",
)
@click.option(
    "--artifacts", metavar="FOLDER", help="Folder of the studies' files, if not the default one."
)
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="Certificate (PEM); serves HTTPS.")
@click.option(
    "--tls-key", type=_FILE, metavar="FILE", help="Its private key, if not in the same file."
)
def dashboard(
    storage: str | None,
    port: int,
    host: str,
    allow_edit: bool,
    artifacts: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    r"""Show the studies in a browser: pages of hpo and optuna-dashboard, by default read-only.

    \b
    hpo dashboard                                  on this machine, at http://127.0.0.1:8080
    hpo dashboard --host 0.0.0.0 --tls-cert c.pem  for other machines, with a token
    """
    # The dashboard takes a second to load: not for --help.
    from hpo.dashboard import Options, Ready, given_token, serve, tls_context
    from hpo.store.db.opening import open_database

    if tls_key is not None and tls_cert is None:
        raise SpecError("--tls-key needs --tls-cert, the certificate of the key")
    tls = None if tls_cert is None else tls_context(tls_cert, tls_key)
    options = Options(host, port, given_token(), allow_edit, tls, artifacts)
    db = open_database(storage)

    def announce(ready: Ready) -> None:
        may = "changes allowed" if allow_edit else "read-only"
        say(f"{db.masked_url} at {ready.url} · {may} · Ctrl-C ends it")
        if ready.new_token is not None:
            say(f"log in: {ready.url}/?token={ready.new_token}")
        if ready.is_public and tls is None:
            logger.warning(
                "without --tls-cert the token and all pages cross the network unencrypted; "
                "`ssh -L %d:localhost:%d THIS_MACHINE` needs no certificate",
                port,
                port,
            )

    try:
        serve(db, options, announce)
    except KeyboardInterrupt:
        say()
