"""The socket where a script asks whether to stop."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from hpo.run.scripts.report_socket import ReportSocket


@pytest.fixture
def server() -> Iterator[ReportSocket]:
    made = ReportSocket(lambda epoch: epoch)
    yield made
    made.close()
    assert not made.path.parent.exists()


@pytest.fixture(autouse=True)
def clients() -> Iterator[None]:
    yield
    while Client.opened:
        Client.opened.pop().close()


class Client:
    opened: ClassVar[list[socket.socket]] = []

    def __init__(self, server: ReportSocket) -> None:
        self.server = server
        self.socket = socket.socket(socket.AF_UNIX)
        self.opened.append(self.socket)
        self.socket.settimeout(0.05)
        self.socket.connect(str(server.path))

    def say(self, raw: bytes) -> None:
        self.socket.sendall(raw)
        for _ in range(9):
            self.server.wait(0.01)

    def ask(self, epoch: int) -> None:
        self.say(json.dumps({"epoch": epoch}).encode() + b"\n")

    def is_closed(self) -> bool:
        try:
            return self.socket.recv(10) == b""
        except ConnectionResetError:
            return True

    def heard(self) -> Any:
        try:
            return json.loads(self.socket.recv(4096))
        except TimeoutError:
            return None


def test_an_epoch_is_answered_when_it_is_decided(server: ReportSocket) -> None:
    client = Client(server)
    client.ask(3)
    assert server.is_waiting
    server.answer(2, stop=False)
    assert client.heard() is None
    server.decide(3, stop=False, save=True)
    server.answer(3, stop=False)
    assert client.heard() == {"stop": False, "save": True}
    assert not server.is_waiting


def test_all_ranks_get_the_same_answer(server: ReportSocket) -> None:
    """Also those that ask before the first, or after the study was stopped."""
    first, early, late = Client(server), Client(server), Client(server)
    early.ask(3)
    first.ask(3)
    server.decide(3, stop=False, save=False)
    server.answer(3, stop=False)
    server.answer(3, stop=True)
    late.ask(3)
    server.answer(3, stop=True)
    assert first.heard() == early.heard() == late.heard() == {"stop": False, "save": False}
    for client in (early, first, late):
        client.ask(4)
        server.answer(3, stop=True)
        assert client.heard() == {"stop": True, "save": True}


def test_a_script_announces_itself(server: ReportSocket) -> None:
    client = Client(server)
    client.say(b'{"resumes": true, "epochs": 9}\n')
    assert client.heard() is None
    assert server.announced == (True, 9)
    server.grant(9)
    assert client.heard() == {"epochs": 9}
    assert not server.is_used
    other = Client(server)
    other.say(b'{"resumes": true, "epochs": null}\n')
    server.grant(9)
    assert other.heard() == {"epochs": 9}


@pytest.mark.parametrize(
    "raw",
    [b"\xff\xfe\n", b"[1]\n", b'{"epoch": "x"}\n', b"{}\n", b"[" * 9999 + b"\n", b"x" * 200_000],
)
def test_garbage_closes_its_connection_only(server: ReportSocket, raw: bytes) -> None:
    good, bad = Client(server), Client(server)
    bad.say(raw)
    assert bad.is_closed()
    good.ask(1)
    server.answer(1, stop=False)
    assert good.heard() == {"stop": False, "save": False}


def test_a_client_may_die_at_any_moment(server: ReportSocket) -> None:
    for raw in (b"", b'{"epo', b'{"epoch": 1}\n'):
        client = Client(server)
        client.say(raw)
        client.socket.close()
        server.answer(1, stop=False)
        server.wait(0)
    assert not server.is_waiting
