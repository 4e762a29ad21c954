"""Security headers: what a browser may do with the pages of the dashboard."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from hpo.dashboard import login
from hpo.dashboard.refusals import path_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_LOGIN_STYLE: Final = base64.b64encode(hashlib.sha256(login.STYLE.encode()).digest()).decode()
STRICT: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' 'sha256-{_LOGIN_STYLE}'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
"""Content security policy of everything that is not optuna-dashboard's page."""
OPTUNA_DASHBOARD: Final = "; ".join(
    [
        "default-src 'self'",
        # Its WebGL plots compile functions, and its components write their styles.
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' data: 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
REPORT: Final = "; ".join(
    [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "sandbox",
    ]
)
"""Content security policy of a report, a page in one file: nothing in it is executed."""
_FIXED: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: browsers would then send the Origin of a form as "null".
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_OURS: Final = {name.lower() for name in _FIXED}
_POLICY: Final = "content-security-policy"


def secured(environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
    """Returns a function that starts a response with the security headers."""
    path = path_of(environ)
    is_optuna = path == "/dashboard" or path.startswith("/dashboard/")

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
        given = {name.lower(): value for name, value in headers}
        kept = [(name, value) for name, value in headers if not _is_replaced(name)]
        policy = OPTUNA_DASHBOARD if is_optuna else given.get(_POLICY, STRICT)
        extra = [("Content-Security-Policy", policy), *_FIXED.items()]
        if "cache-control" not in given:
            # A browser asks again whether a script has changed; pages of studies it does not keep.
            kind = "no-cache" if "last-modified" in given else "no-store"
            extra.append(("Cache-Control", kind))
        return start_response(status, [*kept, *extra], *rest)

    return start


def _is_replaced(name: str) -> bool:
    name = name.lower()
    return name in _OURS or name == _POLICY or name.startswith("access-control-")
