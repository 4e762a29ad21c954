"""Ways to take a database away for a while, and to give it back."""

from __future__ import annotations

import contextlib
import select
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from tests.kits.servers import Server

BUSY_TIMEOUT_S = 0.5
_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


class Outage(Protocol):
    """A database that can be taken away."""

    db: Database

    def begin(self) -> None: ...

    def end(self) -> None: ...


class Stopped:
    """The server is stopped and started."""

    def __init__(self, db: Database, server: Server) -> None:
        self.db = db
        self._server = server

    def begin(self) -> None:
        self._server.stop()

    def end(self) -> None:
        self._server.start()


class Locked:
    """Another process keeps the SQLite file locked."""

    def __init__(self, db: Database, path: Path) -> None:
        self.db = db
        self._path = path
        sa.event.listen(db.engine, "connect", _be_impatient)
        db.dispose()

    def begin(self) -> None:
        self._holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(self._path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"locked\n"

    def end(self) -> None:
        self._holder.communicate(timeout=30)


class Full:
    """The SQLite file cannot grow: what needs another page is refused, as on a full disk."""

    def __init__(self, db: Database, path: Path) -> None:
        self.db = db
        self._path = path
        self._is_full = False
        sa.event.listen(db.engine, "begin", self._limit)

    def begin(self) -> None:
        self._is_full = True

    def end(self) -> None:
        self._is_full = False

    def _limit(self, conn: sa.Connection) -> None:
        # A limit below the file's size means its size.
        limit = 1 if self._is_full else 1_000_000
        conn.exec_driver_sql(f"PRAGMA max_page_count = {limit}")


class Cable:
    """A TCP connection to a server that can be cut, without a word to either end, or reset.

    Attributes:
        n_bytes: What the server has sent.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.n_bytes = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._plugged = threading.Event()
        self._plugged.set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on nothing arrives, without an error."""
        self._plugged.clear()

    def mend(self) -> None:
        """Connections that were cut stay dead; new ones work."""
        self.reset()
        self._plugged.set()

    def reset(self) -> None:
        """Breaks every connection."""
        pairs, self._pairs = self._pairs, []
        for near, far in pairs:
            with contextlib.suppress(OSError):
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for end in (near, far):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        self._closed = True
        self.mend()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                readable, _, _ = select.select([near, far], [], [], 0.05)
                if not self._plugged.is_set():
                    self._plugged.wait()
                    return
                for end in readable:
                    data = end.recv(65536)
                    if not data:
                        near.close()
                        far.close()
                        return
                    self.n_bytes += len(data) if end is far else 0
                    (far if end is near else near).sendall(data)


class Cut:
    """The network between here and the server is cut."""

    def __init__(self, db: Database, cable: Cable) -> None:
        self.db = db
        self._cable = cable

    def begin(self) -> None:
        self._cable.cut()

    def end(self) -> None:
        self._cable.mend()


@contextlib.contextmanager
def outage_of(kind: str, folder: Path, server: Server | None) -> Iterator[Outage]:
    """Opens an empty database that can be taken away: stopped, cut, locked or full."""
    if server is None:
        db = open_database(f"sqlite:///{folder / 'hpo.db'}", create=True)
        kinds: dict[str, Callable[[Database, Path], Outage]] = {"locked": Locked, "full": Full}
        yield kinds[kind](db, folder / "hpo.db")
        db.dispose()
        return
    server.drop_database("hpo_outage")
    url = server.create_database("hpo_outage")
    if kind == "stopped":
        db = open_database(url, create=True)
        yield Stopped(db, server)
        db.dispose()
        return
    cable = Cable(server.port)
    db = open_database(url.replace(f":{server.port}/", f":{cable.port}/"), create=True)
    yield Cut(db, cable)
    cable.close()
    db.dispose()


def _be_impatient(connection: Any, record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_TIMEOUT_S)}")
