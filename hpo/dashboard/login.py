"""Login: the page that asks for the access token, and the gate that every other request passes."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, parse_qsl, quote, urlencode

from hpo.dashboard.access_token import AccessToken
from hpo.dashboard.refusals import Refusal, length_of, path_of, refuse, respond

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PATH: Final = "/login"
STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:15vh auto;padding:0 1rem}"
    "h1{font-size:1.3rem}input,button{font:inherit;padding:.5rem .7rem;box-sizing:border-box}"
    "input{width:100%;margin:.3rem 0 1rem}.wrong{color:light-dark(#b3261e,#ff8a80)}"
)
"""Style of the page; the security headers allow exactly this text."""

_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>hpo: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><h1>hpo dashboard</h1>{message}
<form method="post" action="{path}">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="{next}">
<button>Log in</button></form>
<p><small><code>hpo dashboard</code> printed the token when it started, unless it is
<code>$HPO_DASHBOARD_TOKEN</code>.</small></p></body></html>
"""
_MAX_FORM_BYTES: Final = 4096
_MAX_NEXT: Final = 1024
_BEARER: Final = (("WWW-Authenticate", 'Bearer realm="hpo"'),)


class Login:
    """Passes requests that have the token, by cookie or header, and asks the others for it.

    Args:
        app: What the token opens.
        token: The token; None opens to everyone.
    """

    def __init__(self, app: WSGIApplication, token: AccessToken | None) -> None:
        self._app, self._token = app, token

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request."""
        if path_of(environ) == PATH:
            return self._log_in(environ, start_response)
        if self._token is None:
            return self._app(environ, start_response)
        if self._is_open(self._token, environ):
            if environ["REQUEST_METHOD"] == "GET" and _query_token(environ) is not None:
                # Not to be kept in the browser's address bar and history.
                return _redirect(start_response, _without_token(environ))
            return self._app(environ, start_response)
        given = _query_token(environ)
        if environ["REQUEST_METHOD"] == "GET" and given and self._token.is_given(given):
            cookie = (("Set-Cookie", self._token.cookie),)
            return _redirect(start_response, _without_token(environ), cookie)
        return _ask(environ, start_response, is_wrong=given is not None)

    def _is_open(self, token: AccessToken, environ: WSGIEnvironment) -> bool:
        return token.is_bearer(str(environ.get("HTTP_AUTHORIZATION", ""))) or token.is_in_cookie(
            str(environ.get("HTTP_COOKIE", ""))
        )

    def _log_in(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if self._token is None:
            return _redirect(start_response, "/")
        if method in ("GET", "HEAD"):
            return _page(start_response, "200 OK", "/")
        if method != "POST":
            refusal = Refusal("405 Method Not Allowed", "log in with POST")
            return refuse(refusal, environ, start_response)
        length = length_of(environ)
        if length is None or length > _MAX_FORM_BYTES:
            refusal = Refusal("413 Content Too Large", "this is longer than any token")
            return refuse(refusal, environ, start_response)
        form = parse_qs(environ["wsgi.input"].read(length).decode("ascii", "replace"))
        target = _own_path(form.get("next", ["/"])[0])
        if self._token.is_given(form.get("token", [""])[0].strip()):
            return _redirect(start_response, target, (("Set-Cookie", self._token.cookie),))
        return _page(start_response, "401 Unauthorized", target, is_wrong=True)


def _ask(
    environ: WSGIEnvironment, start_response: StartResponse, *, is_wrong: bool
) -> Iterable[bytes]:
    """Answers a browser with the login page, and anything else with one line."""
    is_page = "text/html" in str(environ.get("HTTP_ACCEPT", ""))
    if environ["REQUEST_METHOD"] == "GET" and is_page:
        target = _own_path(_without_token(environ))
        return _page(start_response, "401 Unauthorized", target, is_wrong=is_wrong)
    reason = "this dashboard needs its token: Authorization: Bearer TOKEN, or log in at /login"
    return refuse(Refusal("401 Unauthorized", reason), environ, start_response, _BEARER)


def _page(
    start_response: StartResponse, status: str, target: str, *, is_wrong: bool = False
) -> Iterable[bytes]:
    message = '<p class="wrong" role="alert">This is not the token.</p>' if is_wrong else ""
    body = _PAGE.format(
        style=STYLE, message=message, path=PATH, next=html.escape(target, quote=True)
    )
    return respond(start_response, status, body, headers=_BEARER if status[:3] == "401" else ())


def _redirect(
    start_response: StartResponse, target: str, headers: tuple[tuple[str, str], ...] = ()
) -> Iterable[bytes]:
    return respond(start_response, "303 See Other", "", headers=(("Location", target), *headers))


def _query_token(environ: WSGIEnvironment) -> str | None:
    query = str(environ.get("QUERY_STRING", ""))
    if "token=" not in query:
        return None
    return next((value for name, value in _pairs(query) if name == "token"), None)


def _without_token(environ: WSGIEnvironment) -> str:
    """Returns the path and query of a request, without the token, as a redirect needs them."""
    query = urlencode(
        [pair for pair in _pairs(str(environ.get("QUERY_STRING", ""))) if pair[0] != "token"]
    )
    path = quote(path_of(environ).encode("latin-1", "replace"), safe="/:@!$&'()*+,;=~")
    return path + (f"?{query}" if query else "")


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return []


def _own_path(target: str) -> str:
    """Returns a path of this server, where a target is none: ``/``."""
    is_own = target.startswith("/") and not target.startswith(("//", "/\\"))
    is_plain = target.isascii() and target.isprintable() and len(target) <= _MAX_NEXT
    return target if is_own and is_plain else "/"
