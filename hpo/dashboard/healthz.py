"""Health: the answer to ``/healthz``, for load balancers and monitors, which have no token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from hpo.dashboard.refusals import respond
from hpo.errors import StoreError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from hpo.store.db.database import Database

PATH: Final = "/healthz"
_KEPT_S: Final = 1.0


class Health:
    """Answers whether the database can be reached, and says nothing else.

    Anyone may ask; so the database is asked at most once a second.

    Args:
        db: The database.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, db: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._db, self._clock = db, clock
        self._lock = threading.Lock()
        self._asked_at, self._is_well = -_KEPT_S, False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            headers = (("Allow", "GET, HEAD"),)
            return respond(start_response, "405 Method Not Allowed", "", _PLAIN, headers)
        if self._ask():
            return respond(start_response, "200 OK", "ok\n", _PLAIN)
        body = "the database cannot be reached\n"
        return respond(start_response, "503 Service Unavailable", body, _PLAIN)

    def _ask(self) -> bool:
        with self._lock:
            if self._clock() - self._asked_at >= _KEPT_S:
                self._is_well = self._reaches_database()
                self._asked_at = self._clock()
            return self._is_well

    def _reaches_database(self) -> bool:
        try:
            with self._db.read() as conn:
                conn.execute(sa.text("SELECT 1"))
        except StoreError:
            return False
        return True


_PLAIN: Final = "text/plain; charset=utf-8"
