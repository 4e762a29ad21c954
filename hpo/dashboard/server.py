"""Dashboard server: serves optuna-dashboard on a database of hpo."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, TextIO, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard

from hpo.dashboard.guard import LOOPBACK, Guard, Quiet, QuietLogs
from hpo.dashboard.renames import Renaming
from hpo.errors import LaunchError
from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage

logger = logging.getLogger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    # The browser keeps connections open; Ctrl-C must not wait for them.
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Logs only at debug level when a browser disconnects or does not speak HTTP."""
        logger.debug("a request of %s failed: %r", client_address, sys.exception())

    def server_bind(self) -> None:
        """Binds without resolving this machine's name, which can take seconds."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        logger.info("%s %s", self.address_string(), format % args)

    def get_stderr(self) -> TextIO:
        """Returns the stream for uncaught errors."""
        return cast(TextIO, Quiet())

    def address_string(self) -> str:
        """Returns the client's address without resolving its name."""
        return str(self.client_address[0])


def serve(db: Database, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serves the dashboard until this process is interrupted.

    Anyone who can reach it can read and delete everything: it has no login.

    Args:
        host: Name or address to listen on.
        port: 0 takes any free port.
        on_ready: Called with the URL once it answers.

    Raises:
        LaunchError: The server cannot listen on the address.
    """
    app = Guard(_application(db), host, lambda: server.server_port, db.merge_log)
    is_6 = ":" in host
    server_class = _Server6 if is_6 else _Server
    try:
        server = make_server(host, port, app, server_class, _Handler)
    except OSError as error:
        raise LaunchError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="--port chooses another port; --port 0 takes any free one",
        ) from None
    with server:
        shown = f"[{host}]" if is_6 else host
        on_ready(f"http://{shown}:{server.server_port}")
        server.serve_forever(poll_interval=0.2)


def _application(db: Database) -> Any:
    logs = logging.getLogger("optuna_dashboard")
    logs.handlers, logs.propagate = [QuietLogs()], False
    return Renaming(db, optuna_dashboard.wsgi(Storage(db)))


def is_loopback(host: str) -> bool:
    """Returns whether only this machine reaches an address."""
    return host in LOOPBACK or host.startswith("127.")
