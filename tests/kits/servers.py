"""Real database servers for tests: PostgreSQL and MariaDB on loopback ports of their own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import sqlalchemy as sa

PASSWORD = "s3cret/@:word"
START_TIMEOUT_S = 60.0
_UNPRIVILEGED = "nobody"


class MissingServer(Exception):
    """The server's programs are not installed here."""


class Server(ABC):
    """A server with a fresh data folder, which goes when it is stopped for good.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        folder: Its data, sockets and log.
        survives_kill: What it has committed outlives its process, though not the machine.
    """

    driver: str
    user = "hpo"
    maintenance_database: str

    def __init__(self, *, survives_kill: bool = False) -> None:
        self.survives_kill = survives_kill
        self.port = free_port()
        # Short: the path of a Unix socket has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="hpo-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, _UNPRIVILEGED)
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.remove()
            raise

    def url(self, database: str) -> str:
        """Returns the URL of one of its databases, as a user of hpo writes it."""
        url = sa.URL.create(
            self.driver.partition("+")[0], self.user, PASSWORD, "127.0.0.1", self.port, database
        )
        return url.render_as_string(hide_password=False)

    def execute(self, *statements: str) -> None:
        """Runs statements outside any transaction."""
        engine = self._engine(self.maintenance_database)
        with engine.connect() as conn:
            for statement in statements:
                conn.exec_driver_sql(statement)
        engine.dispose()

    def create_database(self, name: str) -> str:
        """Creates an empty database and returns its URL."""
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    @abstractmethod
    def drop_database(self, name: str) -> None:
        """Drops a database, whoever is connected to it."""

    @abstractmethod
    def cut_connections(self) -> None:
        """Ends every connection but the one that says so."""

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, **_as_user()
        )
        log.close()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "log").read_text(errors="replace")
                raise RuntimeError(f"the server did not start:\n{text[-4000:]}")
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stops the server and waits; the data stay."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=START_TIMEOUT_S)
        self.process = None

    def remove(self) -> None:
        """Stops the server and deletes its data."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                pass
            self.execute("SELECT 1")
        except (OSError, sa.exc.OperationalError):
            return False
        return True

    def _engine(self, database: str) -> sa.Engine:
        url = sa.make_url(self.url(database)).set(drivername=self.driver)
        return sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")

    @abstractmethod
    def _initialise(self) -> None: ...

    @abstractmethod
    def _command(self) -> list[str]: ...


class PostgreSQL(Server):
    """PostgreSQL as Debian packages it; not durable, but fast."""

    driver = "postgresql+psycopg"
    max_connections = 100
    maintenance_database = "postgres"

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def cut_connections(self) -> None:
        """Ends every connection but the one that says so."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        _run(
            _program("initdb", "/usr/lib/postgresql/*/bin"),
            f"--pgdata={self.folder / 'data'}",
            f"--username={self.user}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        )

    def _command(self) -> list[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "on" if self.survives_kill else "off",
            "shared_buffers": "32MB",
            "max_connections": self.max_connections,
        }
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        program = _program("postgres", "/usr/lib/postgresql/*/bin")
        return [program, "-D", str(self.folder / "data"), *settings]


class MariaDB(Server):
    """MariaDB as Debian packages it, which stands for MySQL too; not durable, but fast."""

    driver = "mysql+pymysql"
    maintenance_database = "mysql"

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name}")

    def cut_connections(self) -> None:
        """Ends every connection but the one that says so."""
        engine = self._engine(self.maintenance_database)
        with engine.connect() as conn:
            others = conn.exec_driver_sql(
                "SELECT id FROM information_schema.processlist "
                "WHERE id <> connection_id() AND user = %s",
                (self.user,),
            )
            for (thread_id,) in others.all():
                with contextlib.suppress(sa.exc.OperationalError):
                    conn.exec_driver_sql(f"KILL {thread_id}")
        engine.dispose()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        super().stop(number)

    def _initialise(self) -> None:
        _program("mariadbd", "/usr/sbin")
        # The file's statements run at every start; they create the user at the first.
        quoted = PASSWORD.replace("'", "''")
        (self.folder / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS '{self.user}'@'127.0.0.1' IDENTIFIED BY '{quoted}';\n"
            f"GRANT ALL ON *.* TO '{self.user}'@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        _run(
            _program("mariadb-install-db", "/usr/bin"),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            # Several at once would take each other's temporary files in /tmp away.
            f"--tmpdir={self.folder}",
        )

    def _command(self) -> list[str]:
        return [
            _program("mariadbd", "/usr/sbin"),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'sock'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--init-file={self.folder / 'init.sql'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--skip-log-bin",
            f"--innodb-flush-log-at-trx-commit={2 if self.survives_kill else 0}",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=16M",
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=0",
            "--max-connections=200",
        ]


def free_port() -> int:
    """Returns a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program(name: str, folders: str) -> str:
    root, _, pattern = folders.lstrip("/").partition("*")
    fixed = sorted(Path("/").glob(folders.lstrip("/") + "/" + name)) if pattern or root else []
    found = str(fixed[-1]) if fixed else shutil.which(name)
    if found is None:
        raise MissingServer(f"{name} is not installed (looked in {folders} and PATH)")
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, text=True, **_as_user())
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")


def _as_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root; elsewhere the servers run as whoever runs the tests."""
    options: dict[str, Any] = {"cwd": "/"}
    if os.geteuid() == 0:
        account = pwd.getpwnam(_UNPRIVILEGED)
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return options
