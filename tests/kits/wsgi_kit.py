"""Requests to a WSGI application in this process."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

HOST = "localhost:8080"


@dataclass(frozen=True)
class Response:
    """What an application answered; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: str


def ask(
    app: WSGIApplication,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: str = "",
) -> Response:
    """Sends a request; one without a Host header goes to `HOST`.

    Args:
        path: Path and query, its path as the server unquotes it.
    """
    route, _, query = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": route,
        "QUERY_STRING": query,
        "HTTP_HOST": HOST,
        "CONTENT_LENGTH": str(len(body.encode())),
        "wsgi.input": io.BytesIO(body.encode()),
    }
    for name, value in (headers or {}).items():
        key = name.upper().replace("-", "_")
        environ[key if key.startswith("CONTENT_") else f"HTTP_{key}"] = value
    setup_testing_defaults(environ)
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, given: list[tuple[str, str]], *_: object) -> Any:
        started.append((status, given))

    chunks: Iterable[bytes] = app(environ, start)
    content = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    status, given = started[-1]
    headers_of = {name.lower(): value for name, value in given}
    return Response(int(status[:3]), headers_of, content.decode(errors="replace"))
