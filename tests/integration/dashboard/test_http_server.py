"""The server under clients that are slow, many, or speak no HTTP."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hpo.dashboard.http_server import Limits, Server, tls_context
from hpo.errors import SpecError

pytestmark = pytest.mark.integration

PATIENT_S = 30.0
"""Longer than any limit below: what takes as long has no limit."""
GET = b"GET /a?token=secret HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _application(environ: Any, start_response: Any) -> Iterable[bytes]:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['wsgi.url_scheme']} {len(body)}".encode()]


@contextmanager
def _serving(
    app: Any = _application, tls: ssl.SSLContext | None = None, **limits: Any
) -> Iterator[Server]:
    with Server("127.0.0.1", 0, tls, Limits(**limits)) as server:
        server.set_app(app)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENT_S)


def _rest(connection: socket.socket) -> bytes:
    """Returns what the server sends until it closes the connection."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def _asked(server: Server, request: bytes) -> bytes:
    with _connect(server) as connection:
        connection.sendall(request)
        return _rest(connection)


def test_it_answers_and_says_little_of_itself() -> None:
    with _serving() as server:
        answer = _asked(server, GET)
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer.endswith(b"http 0")
    assert b"Server: hpo\r\n" in answer
    assert b"Python" not in answer


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nA: b\r\n"])
def test_a_client_that_sends_its_headers_slowly_is_cut_off(sent: bytes) -> None:
    with _serving(head_s=0.3) as server, _connect(server) as connection:
        connection.sendall(sent)
        # Each byte alone is in time.
        for _ in range(100):
            time.sleep(0.02)
            try:
                connection.sendall(b"x")
            except OSError:
                break
        assert b"200" not in _rest(connection)


@pytest.mark.slow
def test_a_client_that_sends_its_body_slowly_is_cut_off() -> None:
    with _serving(head_s=0.2, body_s=0.5) as server, _connect(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nx")
        assert b"200" not in _rest(connection)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b" 414 "),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", b" 431 "),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b" 431 "),
        (b"GET / HTTP/1.1\r\n" + (b"A: " + b"x" * 30_000 + b"\r\n") * 9 + b"\r\n", b" 431 "),
    ],
)
def test_long_headers_are_refused(request_: bytes, status: bytes) -> None:
    with _serving() as server:
        answer = _asked(server, request_)
    # A client that still sends may see the connection reset before it reads the answer.
    assert not answer or status in answer.partition(b"\r\n")[0] + b" "
    assert b"200 OK" not in answer


def test_no_more_requests_are_answered_at_once_than_there_are_threads() -> None:
    entered, leave = threading.Semaphore(0), threading.Event()

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        entered.release()
        leave.wait(PATIENT_S)
        return _application(environ, start_response)

    with _serving(app, threads=2) as server:
        held = [_connect(server) for _ in range(2)]
        for connection in held:
            connection.sendall(GET)
        assert all(entered.acquire(timeout=PATIENT_S) for _ in held)
        assert _asked(server, b"") == b""
        leave.set()
        answers = [_rest(connection) for connection in held]
        assert all(b"200 OK" in answer for answer in answers)
        for connection in held:
            connection.close()
        # The threads are free again.
        for _ in range(5):
            until = time.monotonic() + PATIENT_S
            while b"200 OK" not in _asked(server, GET):
                assert time.monotonic() < until


def test_the_log_has_no_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="hpo")
    with _serving() as server:
        _asked(server, GET)
        _asked(server, b"GARBAGE /?token=secret\r\n\r\n")
    assert "GET /a" in caplog.text
    assert "secret" not in caplog.text


# TLS


def _make_pair(folder: Path, password: bytes | None = None) -> tuple[Path, Path]:
    """Writes a certificate for 127.0.0.1 and its private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    lock = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, pkcs8, lock))
    return paths


def test_with_a_certificate_it_serves_https_only(tmp_path: Path) -> None:
    cert, key = _make_pair(tmp_path)
    trust = ssl.create_default_context(cafile=str(cert))
    with _serving(tls=tls_context(cert, key)) as server:
        with trust.wrap_socket(_connect(server), server_hostname="127.0.0.1") as connection:
            connection.sendall(GET)
            assert _rest(connection).endswith(b"https 0")
        assert b"200 OK" not in _asked(server, GET)


def test_a_client_that_begins_no_handshake_holds_up_no_other(tmp_path: Path) -> None:
    cert, key = _make_pair(tmp_path)
    trust = ssl.create_default_context(cafile=str(cert))
    with (
        _serving(tls=tls_context(cert, key)) as server,
        _connect(server),
        trust.wrap_socket(_connect(server), server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(GET)
        assert b"200 OK" in _rest(connection)


def _locked(folder: Path) -> tuple[Path, Path | None]:
    return _make_pair(folder, b"password")


def _without_key(folder: Path) -> tuple[Path, Path | None]:
    return _make_pair(folder)[0], None


def _garbage(folder: Path) -> tuple[Path, Path | None]:
    (folder / "cert.pem").write_text("garbage")
    return folder / "cert.pem", None


def _missing(folder: Path) -> tuple[Path, Path | None]:
    return _make_pair(folder)[0], folder / "none.pem"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_locked, "unencrypted private key"),
        (_without_key, "cert.pem: not a certificate and its"),
        (_garbage, "cert.pem: not a certificate and its"),
        (_missing, "none.pem: no such file"),
    ],
)
def test_a_wrong_certificate_is_named(
    make: Callable[[Path], tuple[Path, Path | None]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=said):
        tls_context(*make(tmp_path))
