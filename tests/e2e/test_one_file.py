"""An SQLite database is one file again when whoever worked with it has left."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Shell
from tests.e2e.test_run import STUDY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

FROM_PYTHON = """
import shutil
import hpo

if __name__ == "__main__":
    study = hpo.run("small.toml", workers=1, trials=2)
    shutil.copy("hpo.db", "copy.db")  # While this process lives, and has the database open.
    assert len(study.trials) == 2
"""


def _counts(path: Path) -> list[int]:
    """Returns what a database holds, by what is in its own file alone."""
    alone = path.parent / "alone" / "alone.db"
    alone.parent.mkdir(exist_ok=True)
    shutil.copy(path, alone)
    connection = sqlite3.connect(alone)
    tables = ("trials", "hpo_epoch", "trial_values", "hpo_event")
    found = [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables]
    connection.close()
    shutil.rmtree(alone.parent)
    return found


def _now(shell: Shell) -> list[int]:
    tables = ("trials", "hpo_epoch", "trial_values", "hpo_event")
    return [shell.query(f"SELECT count(*) FROM {name}")[0][0] for name in tables]


def test_the_file_alone_is_the_study_after_each_command(shell: Shell) -> None:
    shell.write("small.toml", STUDY.format(trials=4, epochs=3))
    file = shell.folder / "hpo.db"
    shell.hpo("run", "small.toml", "--workers", "2")
    assert _counts(file)[:2] == [4, 12]
    assert not file.with_name("hpo.db-wal").exists()

    # Somebody who has it open does not keep the rest from getting there.
    reader = sqlite3.connect(file)
    reader.execute("SELECT count(*) FROM trials").fetchall()
    shell.hpo("enqueue", "small", "learning_rate=0.01")
    shell.hpo("update", "small", "--trials", "6")
    assert _counts(file)[0] == 5
    shell.hpo("worker", "small", "--workers", "1")
    assert _counts(file)[:2] == [6, 18]
    reader.close()


@pytest.mark.parametrize("n_signals", [1, 2])
def test_the_file_alone_is_the_study_after_ctrl_c(shell: Shell, n_signals: int) -> None:
    shell.write("small.toml", STUDY.format(trials=500, epochs=3))
    process = shell.start("run", "small.toml", "--workers", "2")
    shell.until(lambda: shell.states().get("COMPLETE", 0) > 3, "trials")
    for _ in range(n_signals):
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=180)

    alone = _counts(shell.folder / "hpo.db")

    assert alone == _now(shell)
    assert alone[0] > 3


def test_the_file_alone_is_the_study_while_python_goes_on(shell: Shell) -> None:
    shell.write("small.toml", STUDY.format(trials=4, epochs=3))
    script = shell.write("script.py", FROM_PYTHON)
    subprocess.run(
        [sys.executable, script], cwd=shell.folder, env=shell.environment, check=True, timeout=180
    )
    assert _counts(shell.folder / "copy.db")[:2] == [2, 6]
