"""Guard of the dashboard: decides which requests from the network its pages get to see."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from hpo.dashboard.access_token import AccessToken
from hpo.dashboard.addresses import Addresses
from hpo.dashboard.healthz import PATH as HEALTH_PATH
from hpo.dashboard.login import Login
from hpo.dashboard.refusals import Refusal, length_of, path_of, refuse
from hpo.dashboard.security_headers import secured

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

READING: Final = ("GET", "HEAD")
CHANGING: Final = ("POST", "PUT", "PATCH", "DELETE")
_MAX_BODY_BYTES: Final = 16 * 2**20
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Guard:
    """Refuses requests that it must not answer, and logs failures in one line.

    In this order, so that each check protects those after it: the request is well-formed; it is
    addressed to this server, and not by another website; it has the token; it changes nothing,
    unless changes are allowed; what it changes is described by a JSON object.

    Args:
        app: The pages behind the guard.
        addresses: The hosts and origins of this server.
        health: Answers ``/healthz``, without a token.
        token: The access token; None if none is required.
        allow_edit: Pass requests that may change the database.
        changed: Called after each of them.
    """

    def __init__(
        self,
        app: WSGIApplication,
        addresses: Addresses,
        health: WSGIApplication,
        *,
        token: AccessToken | None = None,
        allow_edit: bool = False,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._app, self._addresses, self._health = app, addresses, health
        self._gate = Login(self._pass, token)
        self._allow_edit, self._changed = allow_edit, changed

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request."""
        chunks = self._answer(environ, start_response)
        if environ.get("REQUEST_METHOD") != "HEAD":
            return chunks
        if hasattr(chunks, "close"):
            chunks.close()
        return []

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start = secured(environ, start_response)
        refusal = _check_form(environ) or self._addresses.check(environ)
        if refusal is not None:
            return refuse(refusal, environ, start)
        if path_of(environ) == HEALTH_PATH:
            return self._health(environ, start)
        return self._gate(environ, start)

    def _pass(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request that has the token."""
        is_change = environ["REQUEST_METHOD"] in CHANGING
        if is_change and (refusal := self._check_change(environ)) is not None:
            return refuse(refusal, environ, start_response)
        # The dashboard assumes headers that every browser sends.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        try:
            return self._app(environ, _telling(environ, start_response))
        finally:
            if is_change:
                self._changed()

    def _check_change(self, environ: WSGIEnvironment) -> Refusal | None:
        if not self._allow_edit:
            return Refusal(
                "403 Forbidden",
                "this dashboard is read-only: start it with --allow-edit to change studies here",
            )
        return _check_body(environ)


def _check_form(environ: WSGIEnvironment) -> Refusal | None:
    """Checks the method and the path; the path is the one that the pages behind will see.

    optuna-dashboard drops bytes that are not UTF-8, and slashes at the end. What is checked here
    must not become another path there.
    """
    if environ.get("REQUEST_METHOD") not in (*READING, *CHANGING):
        return Refusal("405 Method Not Allowed", "this method is not answered here")
    try:
        path = path_of(environ).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return Refusal("400 Bad Request", "the path is not UTF-8")
    if not path.startswith("/") or path.startswith("//") or _CONTROL.search(path):
        return Refusal("400 Bad Request", "the path is not one of this server")
    environ["PATH_INFO"] = path_of(environ).rstrip("/") or "/"
    return None


def _check_body(environ: WSGIEnvironment) -> Refusal | None:
    """Reads the body of a request that changes something: a JSON object or nothing."""
    length = length_of(environ)
    if length is None:
        return Refusal("411 Length Required", "the request has no Content-Length")
    if length > _MAX_BODY_BYTES:
        return Refusal("413 Content Too Large", f"the request has {length} bytes")
    body = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(body)
    # For undo and redo of a choice, the dashboard's pages send only the address.
    if not body and (environ["REQUEST_METHOD"] == "DELETE" or "/preference/" in path_of(environ)):
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


def _telling(environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
    """Logs a request that the dashboard failed to answer, in one line."""

    def start(status: str, *rest: Any) -> Any:
        if status.startswith("5"):
            asked = f"{environ.get('REQUEST_METHOD')} {path_of(environ)!r}"
            logger.warning("the dashboard failed to answer %s (-vv shows the traceback)", asked)
        return start_response(status, *rest)

    return start
