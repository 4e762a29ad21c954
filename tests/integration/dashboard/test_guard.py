"""Every route and method of the dashboard, by every kind of visitor: what passes the guard."""

from __future__ import annotations

import functools
import itertools
import json
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
import pytest

from hpo.dashboard.access_token import AccessToken
from hpo.dashboard.addresses import Addresses
from hpo.dashboard.guard import Guard
from hpo.dashboard.healthz import Health
from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage
from tests.kits.cli_kit import fill
from tests.kits.wsgi_kit import HOST, ask

pytestmark = pytest.mark.integration

TOKEN = "correct-horse-battery-staple"
KEY = AccessToken(TOKEN, 8080, is_secure=False)
COOKIE = KEY.cookie.partition(";")[0]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "MOVE")
OWN = ("/hpo", "/hpo/studies/1", "/hpo/api/studies/1/curves", "/nothing")
JSON = {"Content-Type": "application/json"}


@functools.cache
def routes() -> list[tuple[str, str]]:
    """Returns method and path of each route of the installed optuna-dashboard, with ids filled."""
    app: Any = optuna_dashboard.wsgi(optuna.storages.InMemoryStorage())
    return [(route.method, _filled(route.rule)) for route in app.routes]


def _filled(rule: str) -> str:
    kinds = {"int": "1", "path": "bundle.js", "": "slice"}

    def fill_in(match: re.Match[str]) -> str:
        kind = match[1].partition(":")[2]
        return kinds.get(kind, "" if "(/.*)?" in kind else "0a-1")

    return re.sub(r"<([^>]*)>", fill_in, rule)


@dataclass(frozen=True)
class Visitor:
    """What comes with a request besides method and path; `is_own` and `has_token` say the truth."""

    name: str
    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""
    is_own: bool = True
    has_token: bool = False


def _with(name: str, **changes: Any) -> Visitor:
    headers = tuple(changes.pop("headers", {}).items())
    return Visitor(name, headers, **changes)


BEARER, LONG = {"Authorization": f"Bearer {TOKEN}"}, TOKEN * 1000
VISITORS = [
    _with("no token"),
    _with("cookie", headers={"Cookie": f"a=b; {COOKIE}; c"}, has_token=True),
    _with("bearer", headers=BEARER, has_token=True),
    _with("own origin", headers={**BEARER, "Origin": f"http://{HOST}"}, has_token=True),
    _with("own page", headers={**BEARER, "Sec-Fetch-Site": "same-origin"}, has_token=True),
    _with("wrong bearer", headers={"Authorization": f"Bearer {TOKEN}x"}),
    _with("empty bearer", headers={"Authorization": "Bearer "}),
    _with("basic", headers={"Authorization": f"Basic {TOKEN}"}),
    _with("over-long bearer", headers={"Authorization": f"Bearer {LONG}"}),
    _with("not ASCII", headers={"Authorization": "Bearer \xe4\ud800"}),
    _with("token as cookie", headers={"Cookie": f"hpo-8080={TOKEN}"}),
    _with("cookie of another port", headers={"Cookie": COOKIE.replace("8080", "8081")}),
    _with("empty cookie", headers={"Cookie": "hpo-8080="}),
    _with("over-long cookie", headers={"Cookie": f"{COOKIE}{LONG}"}),
    _with("two cookies", headers={"Cookie": f"hpo-8080=x; {COOKIE}"}),
    _with("wrong token in the address", query=f"token={TOKEN[:-1]}"),
    _with("over-long token in the address", query=f"token={LONG}"),
    _with("empty token in the address", query="token="),
    *(
        _with(f"host {host!r}", headers={**BEARER, "Host": host}, is_own=False, has_token=True)
        for host in (
            *("", "evil.example", "evil.example:8080", "localhost.evil.example", "localhost:8081"),
            *("127.0.0.1.nip.io", "localhost@evil.example", "[::1", "10.0.0.1", "localhost,evil"),
        )
    ),
    *(
        _with(
            f"origin {origin}", headers={**BEARER, "Origin": origin}, is_own=False, has_token=True
        )
        for origin in (
            *("null", "http://evil.example", "http://evil.example:8080", "http://localhost:8081"),
            *("https://localhost:8080", "localhost:8080", "file://", "http://localhost.evil:8080"),
        )
    ),
    *(
        _with(
            f"loaded by a page that is {site}",
            headers={**BEARER, "Sec-Fetch-Site": site, "Sec-Fetch-Dest": "script"},
            is_own=False,
            has_token=True,
        )
        for site in ("cross-site", "same-site")
    ),
]


class Spy:
    """An application that notes what reaches it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Answers with nothing."""
        self.seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        start_response("200 OK", [("Access-Control-Allow-Origin", "*")])
        return [b""]


def guard(app: Any, *, token: AccessToken | None = KEY, allow_edit: bool = False) -> Guard:
    return Guard(app, Addresses("127.0.0.1", 8080), Spy(), token=token, allow_edit=allow_edit)


def paths() -> list[str]:
    found = sorted({path for _, path in routes()} | set(OWN))
    assert len(found) > 25
    return found


def test_the_routes_are_those_of_the_installed_package() -> None:
    assert {("DELETE", "/api/studies/1"), ("POST", "/api/trials/1/tell")} < set(routes())
    assert {method for method, _ in routes()} <= set(METHODS)


@pytest.mark.parametrize("allow_edit", [False, True], ids=["read-only", "edit"])
@pytest.mark.parametrize("needs_token", [False, True], ids=["no token needed", "token needed"])
@pytest.mark.parametrize("visitor", VISITORS, ids=lambda visitor: visitor.name)
def test_nothing_passes_that_should_not(
    visitor: Visitor, needs_token: bool, allow_edit: bool
) -> None:
    spy = Spy()
    app = guard(spy, token=KEY if needs_token else None, allow_edit=allow_edit)
    may_enter = visitor.is_own and (visitor.has_token or not needs_token)
    for method, path in itertools.product(METHODS, paths()):
        spy.seen.clear()
        headers = {**JSON, **dict(visitor.headers)}
        answer = ask(app, method, f"{path}?{visitor.query}", headers=headers, body="{}")
        is_read, is_change = method in ("GET", "HEAD"), method in ("POST", "PUT", "PATCH", "DELETE")
        should_pass = may_enter and (is_read or (is_change and allow_edit))
        case = (method, path, answer.status)
        assert spy.seen == ([(method, path)] if should_pass else []), case
        if should_pass:
            assert answer.status == 200, case
        elif not (is_read or is_change):
            assert answer.status == 405, case
        elif not visitor.is_own:
            assert answer.status == 403, case
        elif not may_enter:
            assert answer.status == 401, case
        else:
            assert answer.status == 403, case
            assert "--allow-edit" in answer.body
        if not should_pass:
            assert TOKEN not in answer.body
            assert "set-cookie" not in answer.headers, case
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("visitor", [v for v in VISITORS if not v.is_own], ids=lambda v: v.name)
def test_strangers_reach_neither_health_nor_login(visitor: Visitor) -> None:
    app = guard(Spy())
    for path, method in itertools.product(("/healthz", "/login"), ("GET", "POST")):
        assert ask(app, method, path, headers=dict(visitor.headers)).status == 403


def test_a_link_from_another_website_opens_a_page_and_changes_nothing() -> None:
    spy = Spy()
    link = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    app = guard(spy, token=None, allow_edit=True)
    assert ask(app, "GET", "/dashboard", headers=link).status == 200
    assert ask(app, "POST", "/api/studies", headers={**link, **JSON}, body="{}").status == 403
    framed = {**link, "Sec-Fetch-Dest": "iframe"}
    assert ask(app, "GET", "/dashboard", headers=framed).status == 403
    assert spy.seen == [("GET", "/dashboard")]


@pytest.mark.parametrize(
    "path",
    [
        "/api/studies/1/rena\xffme",
        "/api/stu\xc3dies/1",
        "//api/studies/1",
        "api/studies/1",
        "http://evil.example/api/studies/1",
        "/api/studies/1\n",
        "/api/\x00studies/1",
        "",
    ],
)
def test_a_path_that_another_program_may_read_otherwise_is_refused(path: str) -> None:
    spy = Spy()
    for method in ("GET", "POST"):
        assert ask(guard(spy, token=None, allow_edit=True), method, path).status == 400
    assert spy.seen == []


def test_slashes_at_the_end_change_nothing() -> None:
    spy = Spy()
    app = guard(spy, token=None, allow_edit=True)
    for path in ("/api/studies/1/rename//", "/", "/dashboard/"):
        ask(app, "POST", path, headers=JSON, body="{}")
    assert [path for _, path in spy.seen] == ["/api/studies/1/rename", "/", "/dashboard"]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({**JSON, "Content-Length": "99999999999"}, "{}", 413),
        ({**JSON, "Content-Length": "9" * 5000}, "{}", 411),
        ({**JSON, "Content-Length": "-1"}, "{}", 411),
        ({**JSON, "Content-Length": "²"}, "{}", 411),
        ({**JSON, "Transfer-Encoding": "chunked"}, "{}", 411),
        ({"Content-Type": "text/plain"}, "{}", 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "study_name=x", 415),
        (JSON, "study_name=x", 400),
        (JSON, "[]", 400),
        (JSON, "[" * 100_000, 400),
        (JSON, "", 400),
    ],
)
def test_a_change_is_a_json_object(headers: dict[str, str], body: str, status: int) -> None:
    spy = Spy()
    for path in ("/api/studies", "/incompatible-rdb-schema", "/hpo"):
        app = guard(spy, token=None, allow_edit=True)
        assert ask(app, "POST", path, headers=headers, body=body).status == status
    assert spy.seen == []


# Logging in


def test_a_link_with_the_token_logs_in_once() -> None:
    spy = Spy()
    answer = ask(guard(spy), "GET", f"/hpo/studies/1?tab=logs&token={TOKEN}&x=%26")
    assert (answer.status, spy.seen) == (303, [])
    assert answer.headers["location"] == "/hpo/studies/1?tab=logs&x=%26"
    assert answer.headers["set-cookie"] == f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict"
    assert TOKEN not in answer.headers["set-cookie"]
    again = ask(guard(spy), "GET", f"/hpo?token={TOKEN}", headers={"Cookie": COOKIE})
    assert (again.status, again.headers["location"]) == (303, "/hpo")
    assert ask(guard(spy), "GET", "/hpo", headers={"Cookie": COOKIE}).status == 200


def test_the_login_page_takes_the_token_and_leads_on() -> None:
    app = guard(Spy())
    asked = ask(app, "GET", "/dashboard/studies/1", headers={"Accept": "text/html"})
    assert asked.status == 401
    assert asked.headers["www-authenticate"].startswith("Bearer")
    assert 'name="next" value="/dashboard/studies/1"' in asked.body
    form = "token=wrong&next=%2Fdashboard%22%3E%3Cscript%3E"
    wrong = ask(app, "POST", "/login", body=form)
    assert (wrong.status, "set-cookie" in wrong.headers) == (401, False)
    assert "This is not the token" in wrong.body
    assert "<script>" not in wrong.body
    right = ask(app, "POST", "/login", body=f"token={TOKEN}&next=%2Fdashboard%3Fa%3D1")
    assert (right.status, right.headers["location"]) == (303, "/dashboard?a=1")
    assert right.headers["set-cookie"].startswith(f"{COOKIE};")
    assert ask(app, "POST", "/login", body=f"token={LONG}").status == 413
    assert ask(app, "PUT", "/login", body=f"token={TOKEN}").status == 405


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb", "/ä", "x"]
)
def test_logging_in_leads_to_no_other_website(target: str) -> None:
    from urllib.parse import urlencode

    body = urlencode({"token": TOKEN, "next": target})
    answer = ask(guard(Spy()), "POST", "/login", body=body)
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_with_tls_the_cookie_is_sent_by_tls_only() -> None:
    assert AccessToken(TOKEN, 443, is_secure=True).cookie.endswith("; Secure")
    assert AccessToken(TOKEN, 443, is_secure=True).cookie.startswith("__Host-hpo-443=")


# The database


def _dump(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        found = list(connection.iterdump())
    connection.close()
    return found


@pytest.fixture
def filled(sqlite_database: Database) -> Database:
    fill(sqlite_database)
    return sqlite_database


def test_reading_changes_nothing_in_the_database(filled: Database, tmp_path: Path) -> None:
    app = guard(optuna_dashboard.wsgi(Storage(filled)), token=None)
    before = _dump(tmp_path / "hpo.db")
    for method, path in itertools.product(("GET", "HEAD", "POST", "PUT", "DELETE"), paths()):
        ask(app, method, path, headers=JSON, body='{"study_name": "x", "directions": ["minimize"]}')
    assert _dump(tmp_path / "hpo.db") == before


def test_health_says_whether_the_database_is_there_and_nothing_else(filled: Database) -> None:
    now = [0.0]
    health = Health(filled, clock=lambda: now[0])
    app = Guard(Spy(), Addresses("127.0.0.1", 8080), health, token=KEY)
    answer = ask(app, "GET", "/healthz")
    assert (answer.status, answer.body) == (200, "ok\n")
    Path(filled.url.removeprefix("sqlite:///")).rename(filled.url.removeprefix("sqlite:///") + "x")
    # It was asked less than a second ago.
    assert ask(app, "GET", "/healthz").status == 200
    now[0] = 1.0
    answer = ask(app, "GET", "/healthz")
    assert (answer.status, answer.body) == (503, "the database cannot be reached\n")
    assert ask(app, "DELETE", "/healthz").status == 405


def test_the_studies_are_shown_to_those_who_may_see_them(filled: Database) -> None:
    app = guard(optuna_dashboard.wsgi(Storage(filled)))
    answer = ask(app, "GET", "/api/studies", headers=BEARER)
    assert json.loads(answer.body)["study_summaries"][0]["study_name"] == "digits"
    assert ask(app, "GET", "/api/studies").status == 401
