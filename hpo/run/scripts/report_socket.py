"""Report socket: where a script that uses ``hpo.report`` asks whether it has to stop.

The protocol is one JSON object a line, over a Unix socket. ``{"epoch": 3}`` asks after a report,
and the answer is ``{"stop": false, "save": true}``. ``{"resumes": true, "epochs": 27}`` says once
that the script restores itself, and how many epochs it has; the answer is ``{"epochs": 9}``, the
most that it has to train.
"""

from __future__ import annotations

import contextlib
import json
import logging
import selectors
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpo.spec.values.kinds import LARGEST_COUNT

logger = logging.getLogger(__name__)
_LONGEST_LINE: Final = 1 << 16
# The operating system's limit for the path of a socket is about 100 bytes.
_LONGEST_FOLDER: Final = 70
PATIENCE_S: Final = 45.0
"""How long an answer may wait for an epoch that was not written; a client waits for a minute."""


@dataclass
class _Client:
    connection: socket.socket
    unread: bytes = b""
    has_announced: bool = False
    asked: int | None = None
    asked_at: float = 0.0


class ReportSocket:
    """Answers the processes of one script, which may be the ranks of a distributed training.

    All that ask about an epoch get the same answer. Nothing runs by itself: see ``wait``.

    Args:
        number_of: Returns the number of an epoch, from 1, as the script counts.

    Attributes:
        path: The socket; its folder is this object's.
        announced: What the script says: whether it restores itself, and how many epochs it has,
            None where it leaves that to the study. None if it does not say.
        is_used: Whether a client has asked about an epoch, so that it can be told to stop.
    """

    def __init__(self, number_of: Callable[[int], int]) -> None:
        self.announced: tuple[bool, int | None] | None = None
        self.is_used = False
        self._number_of = number_of
        self._answers: dict[int, bytes] = {}
        self._clients: dict[int, _Client] = {}
        root = tempfile.gettempdir()
        self._folder = Path(
            tempfile.mkdtemp(prefix="hpo-", dir=root if len(root) < _LONGEST_FOLDER else "/tmp")
        )
        self.path = self._folder / "socket"
        self._selector = selectors.DefaultSelector()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(128)
        self._server.setblocking(False)
        self._selector.register(self._server, selectors.EVENT_READ)

    @property
    def is_waiting(self) -> bool:
        """Whether a client waits for an answer."""
        return any(client.asked is not None for client in self._clients.values())

    def wait(self, timeout_s: float) -> None:
        """Reads what clients say, and waits for that if nothing is there."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._server:
                self._accept()
            else:
                self._read(self._clients[key.fd])

    def grant(self, epochs: int) -> None:
        """Answers those who have announced themselves: how many epochs to train at most."""
        for client in list(self._clients.values()):
            if client.has_announced:
                client.has_announced = False
                self._send(client, _line(epochs=epochs))

    def answer(self, last: int, *, stop: bool, save: bool = False) -> None:
        """Answers those who wait for an epoch that is decided, or for one that never comes.

        Args:
            last: The last epoch that was reported.
            stop: Whether the script has to save and leave. Then nobody waits any longer.
            save: Whether a checkpoint is due.
        """
        reply = _line(stop=stop, save=save or stop)
        for client in list(self._clients.values()):
            number = client.asked
            if number is None:
                continue
            is_late = time.monotonic() - client.asked_at > PATIENCE_S
            if number in self._answers or number <= last or stop or is_late:
                client.asked = None
                self._send(client, self._answers.setdefault(number, reply))

    def decide(self, epoch: int, *, stop: bool, save: bool) -> None:
        """Notes the answer about an epoch, which those get who ask later as well."""
        self._answers.setdefault(epoch, _line(stop=stop, save=save or stop))

    def close(self) -> None:
        """Closes all connections and removes the socket."""
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._server.accept()
            connection.setblocking(False)
            self._clients[connection.fileno()] = _Client(connection)
            self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, client: _Client) -> None:
        try:
            chunk = client.connection.recv(_LONGEST_LINE)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._drop(client)
            return
        *lines, client.unread = (client.unread + chunk).split(b"\n")
        for line in lines:
            self._hear(client, line)
        if len(client.unread) > _LONGEST_LINE:
            self._drop(client)

    def _hear(self, client: _Client, line: bytes) -> None:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            logger.info("a process of the script sent no JSON object; its connection is closed")
            self._drop(client)
        elif (epoch := _count(said.get("epoch"))) is not None:
            self.is_used = True
            client.asked, client.asked_at = self._number_of(epoch), time.monotonic()
        elif "resumes" in said:
            self.announced = bool(said["resumes"]), _count(said.get("epochs")) or None
            client.has_announced = True
        else:
            self._drop(client)

    def _send(self, client: _Client, reply: bytes) -> None:
        try:
            client.connection.sendall(reply)
        except OSError:
            # It does not read, or is gone.
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        descriptor = client.connection.fileno()
        if self._clients.pop(descriptor, None) is not None:
            self._selector.unregister(client.connection)
        client.connection.close()


def _line(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value <= LARGEST_COUNT else None
