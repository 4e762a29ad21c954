"""Dashboard server: serves our pages and optuna-dashboard on a database of hpo, guarded."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna_dashboard

from hpo.dashboard import access_token
from hpo.dashboard.access_token import AccessToken
from hpo.dashboard.addresses import Addresses, is_loopback, named
from hpo.dashboard.edits import Edits
from hpo.dashboard.guard import Guard
from hpo.dashboard.healthz import Health
from hpo.dashboard.http_server import Server
from hpo.dashboard.quiet_logs import QuietLogs
from hpo.dashboard.refusals import path_of
from hpo.dashboard.web.site import is_of_site, site
from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


@dataclass(frozen=True)
class Options:
    """How the dashboard is served.

    Attributes:
        host: Name or address to listen on.
        port: 0 takes any free port.
        token: The access token. None makes a new one where other machines reach the address,
            and requires none elsewhere.
        allow_edit: Whether requests may change the database.
        tls: The certificate; None serves without TLS.
        artifacts: Folder of artifacts, if not the default one; logs are read there.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    allow_edit: bool = False
    tls: ssl.SSLContext | None = None
    artifacts: str | None = None


@dataclass(frozen=True)
class Ready:
    """A dashboard that answers.

    Attributes:
        url: Its URL.
        is_public: Whether other machines reach it.
        new_token: The token that was made for it, if any.
    """

    url: str
    is_public: bool
    new_token: str | None


def serve(
    db: Database,
    options: Options,
    on_ready: Callable[[Ready], None],
) -> None:
    """Serves the dashboard until this process is interrupted.

    Args:
        on_ready: Called once it listens.

    Raises:
        LaunchError: The server cannot listen on the address.
    """
    with Server(options.host, options.port, options.tls) as server:
        # What the server has been bound to decides, for any name may mean any address.
        is_public = not is_loopback(str(server.server_address[0]))
        new = access_token.new_token() if is_public and options.token is None else None
        token, is_tls = options.token or new, options.tls is not None
        scheme, bound_port = "https" if is_tls else "http", server.server_port
        server.set_app(
            Guard(
                _pages(db, options),
                Addresses(options.host, bound_port, scheme),
                Health(db),
                token=AccessToken(token, bound_port, is_secure=is_tls) if token else None,
                allow_edit=options.allow_edit,
                changed=db.merge_log,
            )
        )
        url = f"{scheme}://{named(options.host)}:{bound_port}"
        on_ready(Ready(url, is_public, new))
        server.serve_forever(poll_interval=0.2)


def _pages(db: Database, options: Options) -> WSGIApplication:
    logs = logging.getLogger("optuna_dashboard")
    logs.handlers, logs.propagate = [QuietLogs()], False
    others: WSGIApplication = Edits(db, optuna_dashboard.wsgi(Storage(db)))
    own: WSGIApplication = site(db, options.artifacts, allow_edit=options.allow_edit)

    def pages(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        chosen = own if is_of_site(path_of(environ)) else others
        return chosen(environ, start_response)

    return pages
