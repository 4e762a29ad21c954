"""HTTP server: serves a WSGI application in threads, within limits of time, size and number.

A client that sends or reads slowly, or much, takes one of a bounded number of threads for a
bounded time. Each connection is one request.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import IO, Any, TextIO, cast
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from hpo.dashboard.quiet_logs import Quiet
from hpo.errors import LaunchError, SpecError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one client may take.

    Attributes:
        threads: Requests answered at the same time; more connections are closed at once.
        head_s: Seconds until the request line and all headers are there, TLS included.
        body_s: Seconds until the body is there, from the same start.
        write_s: Seconds in which a part of the answer must be taken.
        head_bytes: Size of request line and headers; one line has at most 64 KiB.
        body_bytes: Size of the whole request.
    """

    threads: int = 64
    head_s: float = 15.0
    body_s: float = 60.0
    write_s: float = 60.0
    head_bytes: int = 96 * 1024
    body_bytes: int = 17 * 2**20


class _Reader(io.RawIOBase):
    """Reads a request from a connection until its time or size is exceeded."""

    def __init__(self, connection: socket.socket, limits: Limits, started_at: float) -> None:
        self._connection, self._limits, self._started_at = connection, limits, started_at
        self._until = started_at + limits.head_s
        self._n_left = limits.head_bytes

    def expect_body(self) -> None:
        """Raises the limits once the headers are there."""
        self._until = self._started_at + self._limits.body_s
        self._n_left += self._limits.body_bytes - self._limits.head_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads what has arrived.

        Raises:
            TimeoutError: The time is over.
            HTTPException: The request is too long.
        """
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request came too slowly")
        self._connection.settimeout(left_s)
        try:
            n = self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._limits.write_s)
        self._n_left -= n
        if self._n_left < 0:
            raise http.client.HTTPException("the request is too long")
        return n


class _Answer(ServerHandler):
    server_software = "hpo"


class _Handler(WSGIRequestHandler):
    server: Server

    def setup(self) -> None:
        """Completes the handshake of TLS here, where a slow client holds up only this thread."""
        limits, started_at = self.server.limits, time.monotonic()
        super().setup()
        self.connection.settimeout(limits.head_s)
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()
        self.connection.settimeout(limits.write_s)
        self._reader = _Reader(self.connection, limits, started_at)
        self.rfile = io.BufferedReader(self._reader)

    def handle(self) -> None:
        """Answers the request."""
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
        elif self.raw_requestline and self.parse_request():
            self._reader.expect_body()
            stderr = cast(TextIO, Quiet())
            source, sink = cast(IO[bytes], self.rfile), cast(IO[bytes], self.wfile)
            answer = _Answer(source, sink, stderr, self.get_environ(), multithread=True)
            answer.request_handler = self  # type: ignore[attr-defined]
            app = self.server.get_app()
            assert app is not None
            answer.run(app)

    def get_environ(self) -> dict[str, Any]:
        """Returns the request; by `HTTPS`, links of redirects have the right scheme."""
        environ = super().get_environ()
        is_tls = isinstance(self.connection, ssl.SSLSocket)
        return {**environ, "HTTPS": "on"} if is_tls else environ

    def version_string(self) -> str:
        """Returns what responses call this server."""
        return "hpo"

    def log_message(self, format: str, *args: object) -> None:
        """Logs a request without its query, which may hold the access token."""
        words = [str(arg).partition("?")[0] for arg in args]
        logger.info("%s %s", self.address_string(), format % tuple(words))

    def address_string(self) -> str:
        """Returns the client's address without resolving its name."""
        return str(self.client_address[0])


class Server(ThreadingMixIn, WSGIServer):
    """The server; `set_app` gives it what it serves.

    Args:
        host: Name or address to listen on.
        port: 0 takes any free port.
        tls: The certificate; None serves without TLS.
        limits: What one client may take.

    Raises:
        LaunchError: The server cannot listen on the address.
    """

    # The browser keeps connections open; Ctrl-C must not wait for them.
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        limits: Limits = Limits(),
    ) -> None:
        self.limits, self._tls = limits, tls
        self._free = threading.BoundedSemaphore(limits.threads)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise LaunchError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="--port chooses another port; --port 0 takes any free one",
            ) from None

    def server_bind(self) -> None:
        """Binds without resolving this machine's name, which can take seconds."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts a connection; its thread completes the handshake of TLS."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread of its own, or closes the connection if there are too many."""
        if not self._free.acquire(blocking=False):
            logger.info("closed a connection of %s: too many at once", client_address)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers a request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Logs only at debug level when a browser disconnects or does not speak HTTP."""
        logger.debug("a request of %s failed: %r", client_address, sys.exception())


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Returns what serves by TLS 1.2 or later.

    Args:
        certificate: PEM file of the certificate and those of its issuers.
        key: PEM file of the private key; None if the certificate's file has it.

    Raises:
        SpecError: A file is missing or not what it should be.
    """
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise SpecError(f"{path}: no such file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password given here, OpenSSL would ask for it at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        of_key = f" and {key}" if key is not None else ""
        raise SpecError(
            f"{certificate}{of_key}: not a certificate and its unencrypted private key in PEM: "
            f"{getattr(error, 'reason', None) or error}",
            hint="openssl req -x509 -newkey rsa:3072 -noenc -days 365 -subj /CN=HOST "
            "-addext subjectAltName=DNS:HOST -keyout key.pem -out cert.pem makes a pair",
        ) from None
    return context
