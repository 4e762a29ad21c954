"""``hpo watch`` and ``hpo top`` in a real terminal: what its keys and signals do."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.store.db.database import Database
from hpo.store.ledger import workers
from tests.kits.cli_kit import fill

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
ENTERED, LEFT = "\x1b[?1049h", "\x1b[?1049l"
LIMIT_S = 60.0
_STYLES = re.compile(r"\x1b\[[\d;]*m")


class Terminal:
    """A terminal of 80 columns and 24 lines in which ``hpo`` runs."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._primary, self._secondary = pty.openpty()
        fcntl.ioctl(self._secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._before = termios.tcgetattr(self._secondary)
        kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "HPO_STORAGE")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hpo", *arguments],
            cwd=folder,
            env={**kept, "TERM": "xterm"},
            stdin=self._secondary,
            stdout=self._secondary,
            stderr=self._secondary,
            start_new_session=True,
        )
        self.text = ""

    def wait_for(self, text: str) -> None:
        """Reads until a text stands in what was printed since the last such call."""
        end_s = time.monotonic() + LIMIT_S
        while text not in self.text:
            assert time.monotonic() < end_s, (text, self.text[-3000:])
            if select.select([self._primary], [], [], 0.1)[0]:
                self.text += os.read(self._primary, 65536).decode(errors="replace")
                self.text = _STYLES.sub("", self.text)
        self.text = self.text.partition(text)[2]

    def press(self, key: str) -> None:
        os.write(self._primary, key.encode())

    def exit_code(self) -> int:
        """Waits for the end, after which the terminal is as it was."""
        self.wait_for(LEFT)
        code = self.process.wait(LIMIT_S)
        assert termios.tcgetattr(self._secondary) == self._before
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._primary)
        os.close(self._secondary)


@pytest.fixture
def folder(sqlite_database: Database, tmp_path: Path) -> Path:
    fill(sqlite_database)
    sqlite_database.merge_log()
    sqlite_database.dispose()
    return tmp_path


@pytest.fixture
def watch(folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(folder, "watch", "digits")
    terminal.wait_for(ENTERED)
    yield terminal
    terminal.close()


def test_watching_outlives_an_outage_and_a_suspension(watch: Terminal, folder: Path) -> None:
    watch.wait_for("q or Ctrl-C leaves")
    # Its log may be there or not.
    files = [path for path in folder.glob("hpo.db*") if path.is_file()]
    for path in sorted(files):
        path.rename(folder / f"away-{path.name}")
    watch.wait_for("old; waiting for the database: ")
    for path in sorted(files, reverse=True):
        path.with_name(f"away-{path.name}").rename(path)
    watch.wait_for("q or Ctrl-C leaves")
    watch.process.send_signal(signal.SIGTSTP)
    watch.wait_for(LEFT)
    _, status = os.waitpid(watch.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    watch.process.send_signal(signal.SIGCONT)
    watch.wait_for(ENTERED)
    watch.wait_for("q or Ctrl-C leaves")
    watch.press("q")
    assert watch.exit_code() == 0
    # The last page stays on the terminal.
    watch.wait_for("digits · active")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_leaves_the_terminal_as_it_was(watch: Terminal, name: str, code: int) -> None:
    watch.wait_for("5/10 trials")
    watch.process.send_signal(getattr(signal, name))
    assert watch.exit_code() == code


def test_watching_ends_with_the_study(watch: Terminal, folder: Path) -> None:
    watch.wait_for("5/10 trials")
    subprocess.run(
        [sys.executable, "-m", "hpo", "stop", "digits"], cwd=folder, check=True, capture_output=True
    )
    watch.wait_for("stopped")
    # This process is the worker, and it lives.
    watch.wait_for("q or Ctrl-C leaves")
    db = Database(f"sqlite:///{folder / 'hpo.db'}")
    workers.retire(db, 1)
    db.dispose()
    assert watch.exit_code() == 0
    watch.wait_for("digits · stopped")
