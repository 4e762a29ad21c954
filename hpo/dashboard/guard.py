"""Guard of the dashboard: decides which requests from the network it answers."""

from __future__ import annotations

import io
import ipaddress
import json
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE: Final = ("", "0.0.0.0", "::")
_MAX_BODY_BYTES: Final = 16 * 2**20


@dataclass(frozen=True)
class Refusal:
    """A response that the guard gives in place of the dashboard.

    Attributes:
        status: Such as ``403 Forbidden``.
        reason: One line.
    """

    status: str
    reason: str


class Guard:
    """Refuses requests that the dashboard's own pages do not send, and logs failures in one line.

    A website whose name resolves to this machine (DNS rebinding) reaches the server from its
    visitors' browsers. The ``Host`` header then has the website's name.

    Args:
        app: The dashboard.
        host: The name or address that it listens on.
        port: Returns the port that it listens on.
        changed: Called after each request that may have changed the database.
    """

    def __init__(
        self,
        app: WSGIApplication,
        host: str,
        port: Callable[[], int],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._app, self._port, self._changed = app, port, changed
        # A server on all interfaces is reached by the machine's name or any of its addresses.
        self._takes_addresses = host in _EVERYWHERE
        given = socket.gethostname() if self._takes_addresses else host
        self._names = {name.lower() for name in (*LOOPBACK, given)}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request."""
        refusal = self._refusal(environ)
        if refusal is not None:
            return _refuse(refusal, environ, start_response)
        # The dashboard assumes headers that every browser sends.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        method = str(environ.get("REQUEST_METHOD", ""))
        try:
            return self._app(environ, _telling(environ, start_response))
        finally:
            if method not in ("GET", "HEAD", "OPTIONS"):
                self._changed()

    def _refusal(self, environ: WSGIEnvironment) -> Refusal | None:
        given = str(environ.get("HTTP_HOST", ""))
        if not self._is_own(given):
            return Refusal(
                "403 Forbidden",
                f"this dashboard does not answer to the host {given[:100]!r}: open it as "
                f"localhost:{self._port()}, or start it with --host and the name that you use",
            )
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and not self._is_own(str(origin).partition("://")[2]):
            return Refusal("403 Forbidden", "this dashboard refuses requests from other websites")
        is_api = _path(environ).startswith("/api/")
        if is_api and environ.get("REQUEST_METHOD") in ("POST", "PUT", "PATCH", "DELETE"):
            return _check_body(environ)
        return None

    def _is_own(self, authority: str) -> bool:
        """Returns whether the host and port of a URL mean this server."""
        host, port = _split(authority.lower())
        if port not in ("", str(self._port())):
            return False
        return host in self._names or (self._takes_addresses and _is_address(host))


def _split(authority: str) -> tuple[str, str]:
    """Returns host and port; an IPv6 address without its brackets."""
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        is_right = bracket and (not rest or rest.startswith(":"))
        return (host, rest[1:]) if is_right else ("?", "")
    host, _, port = authority.partition(":")
    return host, port


def _path(environ: WSGIEnvironment) -> str:
    return str(environ.get("PATH_INFO", ""))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_body(environ: WSGIEnvironment) -> Refusal | None:
    """Reads the body of a request that changes something: a JSON object or nothing."""
    length = str(environ.get("CONTENT_LENGTH") or "0")
    if not length.isdecimal() or environ.get("HTTP_TRANSFER_ENCODING"):
        return Refusal("411 Length Required", "the request has no Content-Length")
    if int(length) > _MAX_BODY_BYTES:
        return Refusal("413 Content Too Large", f"the request has {length} bytes")
    body = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"] = io.BytesIO(body)
    # For undo and redo of a choice, the dashboard's pages send only the address.
    if not body and (environ["REQUEST_METHOD"] == "DELETE" or "/preference/" in _path(environ)):
        return None
    if str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip() != "application/json":
        return Refusal("415 Unsupported Media Type", "the request is not application/json")
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return Refusal("400 Bad Request", "the request is not JSON")
    if not isinstance(parsed, dict):
        return Refusal("400 Bad Request", "the request is not a JSON object")
    return None


def _refuse(
    refusal: Refusal, environ: WSGIEnvironment, start_response: StartResponse
) -> list[bytes]:
    logger.info("%s %r: %s", environ.get("REQUEST_METHOD"), _path(environ), refusal.reason)
    if refusal.status.startswith("403"):
        kind, body = "text/plain; charset=utf-8", f"{refusal.reason}\n"
    else:
        kind, body = "application/json", json.dumps({"reason": refusal.reason})
    content = body.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(content)))]
    start_response(refusal.status, headers)
    return [content]


def _telling(environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
    """Logs a request that the dashboard failed to answer, in one line."""

    def start(status: str, *rest: Any) -> Any:
        if status.startswith("5"):
            asked = f"{environ.get('REQUEST_METHOD')} {_path(environ)!r}"
            logger.warning("the dashboard failed to answer %s (-vv shows the traceback)", asked)
        return start_response(status, *rest)

    return start


class Quiet(io.TextIOBase):
    """A stream for messages of libraries about requests: tracebacks, which only -vv shows."""

    def writable(self) -> bool:
        """Returns True."""
        return True

    def write(self, text: str) -> int:
        """Logs what is written."""
        if text.strip():
            logger.debug("%s", text.rstrip())
        return len(text)


class QuietLogs(logging.Handler):
    """Handler for the messages of optuna-dashboard, which hold tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs a record at the level that only -vv shows."""
        logger.debug("%s", record.getMessage().rstrip())
