"""Refusals: the answers that the guard gives in place of the pages behind it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

_MAX_DIGITS: Final = 15
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered.

    Attributes:
        status: Such as ``403 Forbidden``.
        reason: One line.
    """

    status: str
    reason: str


def path_of(environ: WSGIEnvironment) -> str:
    """Returns the path of a request."""
    return str(environ.get("PATH_INFO", ""))


def length_of(environ: WSGIEnvironment) -> int | None:
    """Returns the length of the body of a request in bytes, or None if it does not say it."""
    length = str(environ.get("CONTENT_LENGTH") or "0")
    is_number = length.isascii() and length.isdecimal() and len(length) <= _MAX_DIGITS
    return int(length) if is_number and not environ.get("HTTP_TRANSFER_ENCODING") else None


def refuse(
    refusal: Refusal,
    environ: WSGIEnvironment,
    start_response: StartResponse,
    headers: Headers = (),
) -> list[bytes]:
    """Answers with a refusal: JSON where the dashboard's pages expect it, else a line of text."""
    logger.info("%s %r: %s", environ.get("REQUEST_METHOD"), path_of(environ), refusal.reason)
    if path_of(environ).startswith(("/api/", "/hpo/api/")):
        kind, body = "application/json", json.dumps({"reason": refusal.reason})
    else:
        kind, body = "text/plain; charset=utf-8", refusal.reason
    return respond(start_response, refusal.status, f"{body}\n", kind, headers)


def respond(
    start_response: StartResponse,
    status: str,
    body: str,
    kind: str = "text/html; charset=utf-8",
    headers: Headers = (),
) -> list[bytes]:
    """Answers a request.

    Args:
        status: Such as ``200 OK``.
        kind: The content type.
        headers: Further headers.
    """
    content = body.encode(errors="replace")
    own = [("Content-Type", kind), ("Content-Length", str(len(content)))]
    start_response(status, [*own, *headers])
    return [content]
