"""Addresses: the hosts and origins by which browsers know this server."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Final

from hpo.dashboard.refusals import Refusal

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE: Final = ("", "0.0.0.0", "::")


class Addresses:
    """Refuses requests that are addressed to another host or come from another website.

    A website whose name resolves to this machine (DNS rebinding) reaches the server from its
    visitors' browsers. The ``Host`` header then has the website's name. A website can also send
    requests to the server's own name; the browser adds where they come from.

    Args:
        host: The name or address that the server listens on.
        port: The port that it listens on.
        scheme: ``http`` or ``https``.
    """

    def __init__(self, host: str, port: int, scheme: str = "http") -> None:
        self._port, self._scheme = port, scheme
        # A server on all interfaces is reached by the machine's name or any of its addresses.
        self._takes_addresses = host in _EVERYWHERE
        given = socket.gethostname() if self._takes_addresses else host
        self._names = {name.lower() for name in (*LOOPBACK, given)}

    def check(self, environ: WSGIEnvironment) -> Refusal | None:
        """Returns why a request is refused, or None."""
        given = str(environ.get("HTTP_HOST", ""))
        if not self._is_own(given):
            return Refusal(
                "403 Forbidden",
                f"this dashboard does not answer to the host {given[:100]!r}: open it as "
                f"localhost:{self._port}, or start it with --host and the name that you use",
            )
        origin = environ.get("HTTP_ORIGIN")
        if (origin is not None and not self._is_own_origin(str(origin))) or _is_foreign(environ):
            return Refusal("403 Forbidden", "this dashboard refuses requests from other websites")
        return None

    def _is_own_origin(self, origin: str) -> bool:
        scheme, separator, authority = origin.partition("://")
        return bool(separator) and scheme == self._scheme and self._is_own(authority)

    def _is_own(self, authority: str) -> bool:
        """Returns whether the host and port of a URL mean this server."""
        host, port = _split(authority.lower())
        if port not in ("", str(self._port)):
            return False
        return host in self._names or (self._takes_addresses and _is_address(host))


def _is_foreign(environ: WSGIEnvironment) -> bool:
    """Returns whether a page of another website loads this, other than by a link to a page."""
    if environ.get("HTTP_SEC_FETCH_SITE") not in ("cross-site", "same-site"):
        return False
    is_link = (
        environ.get("REQUEST_METHOD") in ("GET", "HEAD")
        and environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
        and environ.get("HTTP_SEC_FETCH_DEST") == "document"
    )
    return not is_link


def _split(authority: str) -> tuple[str, str]:
    """Returns host and port; an IPv6 address without its brackets."""
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        is_right = bracket and (not rest or rest.startswith(":"))
        return (host, rest[1:]) if is_right else ("?", "")
    host, _, port = authority.partition(":")
    return host, port


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Returns whether only this machine reaches an address that a server has been bound to."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def named(host: str) -> str:
    """Returns the name by which a URL says the host that a server listens on."""
    name = socket.gethostname() if host in _EVERYWHERE else host
    return f"[{name}]" if ":" in name else name
