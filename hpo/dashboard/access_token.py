"""Access token: the secret that opens the dashboard, and the cookie that a browser gets for it."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from typing import Final

from hpo.errors import SpecError

VARIABLE: Final = "HPO_DASHBOARD_TOKEN"
SHORTEST: Final = 16
LONGEST: Final = 256
_ALLOWED: Final = re.compile(r"[!-~]+")


class AccessToken:
    """A token and its cookie, compared in constant time.

    The cookie is not the token but a digest keyed with it, so a stolen cookie does not tell the
    token, and a browser stays logged in if the dashboard is started again with the same token.

    Args:
        token: The token, as `given_token` or `new_token` gives it.
        port: Port of the server; a browser sends the cookies of a host to all its ports.
        is_secure: Whether the browser may send the cookie by TLS only.
    """

    def __init__(self, token: str, port: int, *, is_secure: bool) -> None:
        self._token = token.encode()
        self._session = hmac.new(self._token, b"hpo dashboard", hashlib.sha256).hexdigest()
        self._name = f"{'__Host-' * is_secure}hpo-{port}"
        self._is_secure = is_secure

    def is_given(self, text: str) -> bool:
        """Returns whether a text is the token."""
        # What is longer than any token is not even hashed or compared.
        if len(text) > LONGEST:
            return False
        return hmac.compare_digest(text.encode(errors="replace"), self._token)

    def is_in_cookie(self, header: str) -> bool:
        """Returns whether the ``Cookie`` header of a request opens the dashboard."""
        # `http.cookies` reads none of the cookies if another program on this host has set a wrong
        # one.
        pairs = (part.strip().partition("=") for part in header.split(";"))
        values = [value for name, _, value in pairs if name == self._name]
        if len(values) != 1 or len(values[0]) > LONGEST:
            return False
        return hmac.compare_digest(values[0].encode(errors="replace"), self._session.encode())

    def is_bearer(self, header: str) -> bool:
        """Returns whether the ``Authorization`` header of a request has the token."""
        scheme, _, text = header.partition(" ")
        return scheme.lower() == "bearer" and self.is_given(text.strip())

    @property
    def cookie(self) -> str:
        """The ``Set-Cookie`` header."""
        secure = "; Secure" if self._is_secure else ""
        return f"{self._name}={self._session}; Path=/; HttpOnly; SameSite=Strict{secure}"


def new_token() -> str:
    """Returns a new random token."""
    return secrets.token_urlsafe(32)


def given_token() -> str | None:
    """Returns ``$HPO_DASHBOARD_TOKEN``, or None where it is not set.

    Raises:
        SpecError: It is too short, too long, or has other characters than printable ASCII.
    """
    token = os.environ.get(VARIABLE)
    if token is None:
        return None
    if not SHORTEST <= len(token) <= LONGEST or not _ALLOWED.fullmatch(token):
        raise SpecError(
            f"{VARIABLE} must have {SHORTEST} to {LONGEST} characters, which are ASCII letters, "
            f"digits or punctuation; it has {len(token)}",
            hint=f"export {VARIABLE}=$(openssl rand -hex 32)",
        )
    return token
