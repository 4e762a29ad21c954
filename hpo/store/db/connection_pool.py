"""Connection pool: connections kept between transactions, and dropped once they may be bad."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

PING_AFTER_S = 1.0
"""Seconds after which an idle connection is pinged before use; a ping costs a round trip."""

_USED_AT = "hpo_used_at"
# The pool that a record belongs to, for which SQLAlchemy has no public attribute.
_POOL = "_ConnectionRecord__pool"


class ConnectionPool:
    """The pool of an engine, with pings and with replacement of bad connections.

    Args:
        engine: Just created.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        sa.event.listen(engine, "connect", self._note)
        sa.event.listen(engine, "checkin", self._note_use)
        if engine.dialect.name == "sqlite":
            self._path = Path(str(engine.url.database))
            self._was_there = False
            sa.event.listen(engine, "do_connect", self._require_file)
        else:
            sa.event.listen(engine, "checkout", self._ping)

    def drop(self) -> None:
        """Closes idle connections now, and those in use when they are returned.

        A session keeps what it began with, such as being read-only, or a limit on the time of
        statements; only a new one knows that the server has changed its mind.
        """
        self._engine.dispose()

    def _note(self, _connection: Any, record: sa.pool.ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()
        if self._engine.dialect.name == "sqlite":
            self._was_there = True

    def _note_use(self, _connection: Any, record: sa.pool.ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()
        # Also a connection that was being opened while the pool was dropped.
        if getattr(record, _POOL) is not self._engine.pool:
            record.invalidate()

    def _ping(self, connection: Any, record: sa.pool.ConnectionPoolEntry, _proxy: Any) -> None:
        """Replaces connections that died while they were idle, as SQLAlchemy's own ping would.

        SQLAlchemy's ping costs a round trip for every transaction.
        """
        used_at = record.info.get(_USED_AT, -math.inf)
        if time.monotonic() - used_at < PING_AFTER_S:
            return
        try:
            self._engine.dialect.do_ping(connection)
        except self._engine.dialect.loaded_dbapi.Error as error:
            # The pool then opens another one.
            raise sa.exc.DisconnectionError from error

    def _require_file(
        self, _dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]
    ) -> None:
        # SQLite would create a new file in place of one that was moved away.
        if self._was_there:
            arguments[0] = f"file:{quote(str(self._path))}?mode=rw"
            options["uri"] = True
