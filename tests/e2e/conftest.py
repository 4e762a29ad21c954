"""Real processes: the command line in a folder of its own, its database looked at from outside."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

LIMIT_S = 180.0


@dataclass
class Shell:
    """A user's terminal in an empty folder."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, without what would change the program's face."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HPO_", "FORCE_COLOR"))}
        return {**kept, "NO_COLOR": "1", "COLUMNS": "120"}

    def write(self, name: str, text: str) -> Path:
        """Writes a file into the folder."""
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts ``hpo`` and returns while it runs."""
        process = subprocess.Popen(
            [sys.executable, "-m", "hpo", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def hpo(self, *arguments: str, expect: int = 0) -> str:
        """Runs ``hpo`` to its end and returns what it printed."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == expect, f"exit {process.returncode}, not {expect}:\n{output}"
        assert "Traceback" not in output, output
        return output

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Asks the database, from outside of the program."""
        path = self.folder / "hpo.db"
        if not path.exists():
            return []
        connection = sqlite3.connect(path, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            connection.close()

    def states(self) -> dict[str, int]:
        """Returns how many trials are in each of Optuna's states."""
        return dict(self.query("SELECT state, count(*) FROM trials GROUP BY state"))

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Waits until something holds."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for: {what}"
            time.sleep(0.05)

    def close(self) -> None:
        """Ends what still runs: what was started here, and the workers that it started."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for (pid,) in self.query("SELECT pid FROM hpo_worker WHERE ended_at IS NULL"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A terminal whose processes are gone when the test is."""
    shell = Shell(tmp_path)
    yield shell
    shell.close()
