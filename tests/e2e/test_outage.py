"""The database server goes away in the middle of a run, and comes back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hpo.store.db.opening import open_database
from hpo.store.studies import studies, study_records
from tests.conftest import start_server
from tests.e2e.conftest import Shell
from tests.kits.servers import Server

# Each starts workers twice or waits a server out, on machines that may be busy.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
EPOCHS = 60
AWAY_S = 5.0

STUDY = f"""
name      = "small"
task      = "slow.py:Slow"
engine = "solo"
metric    = "val_accuracy"
direction = "maximize"

[budget]
trials = 3
epochs = {EPOCHS}

[space]
learning_rate = {{ low = 1e-3, high = 0.3, log = true }}

[sampler]
name = "random"

[pruner]
name = "none"
"""

TASK = '''
import time
import hpo
from torch import nn


class Slow(hpo.Task):
    """Digits, at least a tenth of a second an epoch."""

    def data(self):
        return hpo.data.digits()

    def model(self, params):
        return nn.Linear(64, 10)

    def metrics(self, outputs, targets):
        time.sleep(0.1)
        return super().metrics(outputs, targets)
'''


class Database:
    """A database on a server that may be stopped, looked at from outside of the program."""

    def __init__(self, server: Server) -> None:
        self.server = server
        server.drop_database("hpo_outage")
        self.url = server.create_database("hpo_outage")
        url = sa.make_url(self.url).set(drivername="postgresql+psycopg")
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            with self._engine.connect() as conn:
                return [tuple(row) for row in conn.execute(sa.text(sql))]
        except sa.exc.ProgrammingError:
            return []

    def pids(self) -> list[int]:
        return [pid for (pid,) in self.query("SELECT pid FROM hpo_worker WHERE ended_at IS NULL")]

    def assert_whole(self, n_trials: int) -> None:
        """Every trial is complete, with each of its epochs exactly once."""
        states = self.query("SELECT state::text, count(*) FROM trials GROUP BY 1")
        assert states == [("COMPLETE", n_trials)]
        for table, column in (("hpo_epoch", "epoch"), ("trial_intermediate_values", "step")):
            rows = self.query(f"SELECT trial_id, {column} FROM {table} ORDER BY 1, 2")
            trial_ids = sorted({trial_id for trial_id, _ in rows})
            assert len(trial_ids) == n_trials
            assert rows == [(t, epoch) for t in trial_ids for epoch in range(1, EPOCHS + 1)]
        assert self.query("SELECT count(*) FROM hpo_lease") == [(0,)]

    def outages(self) -> list[str]:
        return [m for (m,) in self.query("SELECT message FROM hpo_event WHERE kind = 'outage'")]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = start_server("postgresql")
    yield server
    server.remove()


@pytest.fixture
def database(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    database = Database(server)
    yield database
    if server.process is None:
        server.start()
    for pid in database.pids():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture
def study(shell: Shell) -> list[str]:
    """The arguments that run the study."""
    shell.write("small.toml", STUDY)
    shell.write("slow.py", TASK)
    return ["run", "small.toml", "--workers", "2"]


def _spools(shell: Shell) -> list[Path]:
    return list((shell.folder / "state").rglob("*.spool"))


def _logs(shell: Shell) -> str:
    return "".join(path.read_text() for path in sorted(shell.folder.rglob("worker-*.log")))


def _until_both_train(shell: Shell, database: Database) -> None:
    shell.until(
        lambda: len(database.query("SELECT DISTINCT trial_id FROM hpo_epoch WHERE epoch > 2")) > 1,
        "two trials with some epochs",
    )


def _n_kept(shell: Shell) -> int:
    return sum(path.read_bytes().count(b"\n") for path in _spools(shell))


def test_a_run_outlives_its_database(shell: Shell, database: Database, study: list[str]) -> None:
    process = shell.start(*study, "--storage", database.url, "--artifacts", "files")
    _until_both_train(shell, database)
    database.server.stop()
    time.sleep(AWAY_S)
    n_kept = _n_kept(shell)
    database.server.start()
    output, _ = process.communicate(timeout=180)

    assert process.returncode == 0, output
    assert "Traceback" not in output + _logs(shell)
    assert "waiting for the database: " in output
    assert "running again\n" in output
    database.assert_whole(3)
    assert database.query("SELECT count(*), max(attempt) FROM hpo_worker, hpo_epoch")[0][1] == 1
    assert database.query("SELECT count(*) FROM hpo_worker") == [(2,)]
    assert len(database.outages()) == 2
    # Two workers trained on, at about 0.1 s an epoch.
    assert n_kept > 10
    assert _spools(shell) == []
    assert _logs(shell).count("is away") == 2
    assert _logs(shell).count("the database is back") == 2


def test_what_a_worker_kept_that_was_killed_in_an_outage_is_written_by_the_next(
    shell: Shell, database: Database, study: list[str]
) -> None:
    process = shell.start(*study, "--storage", database.url, "--artifacts", "files")
    _until_both_train(shell, database)
    pids = database.pids()
    database.server.stop()
    shell.until(lambda: len(_spools(shell)) == 2 and _n_kept(shell) > 10, "spools")
    os.kill(pids[0], signal.SIGKILL)
    time.sleep(1.0)
    database.server.start()
    output, _ = process.communicate(timeout=180)

    assert process.returncode == 0, output
    assert "Traceback" not in output
    database.assert_whole(3)
    assert database.query("SELECT count(*) FROM hpo_worker") == [(3,)]
    (adopted,) = (text for text in database.outages() if "a worker on" in text)
    n_adopted = int(adopted.split()[1])
    assert n_adopted >= 5
    # The trial went on from its checkpoint, so most epochs are of the first attempt.
    ((n_again,),) = database.query("SELECT count(*) FROM hpo_epoch WHERE attempt = 2")
    assert 0 < n_again < EPOCHS - n_adopted
    assert _spools(shell) == []


def test_ctrl_c_in_an_outage_ends_the_run_at_once_and_the_next_goes_on(
    shell: Shell, database: Database, study: list[str]
) -> None:
    arguments = [*study, "--storage", database.url, "--artifacts", "files"]
    process = shell.start(*arguments)
    _until_both_train(shell, database)
    database.server.stop()
    shell.until(lambda: len(_spools(shell)) == 2, "spools")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 130, output
    assert "Traceback" not in output + _logs(shell)
    assert len(_spools(shell)) == 2
    database.server.start()

    shell.hpo(*arguments)
    database.assert_whole(3)
    # The trials were handed back by what the spools said, so they were not lost.
    assert database.query("SELECT max(attempt) FROM hpo_epoch") == [(1,)]
    assert _spools(shell) == []


OBJECTIVE = """
import time


def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    for step in range(20):
        time.sleep(0.1)
        trial.report(x + step, step)
        if trial.should_prune():
            raise RuntimeError("nobody prunes here")
    y = trial.suggest_float("y", 0, 1)
    return x + y
"""


def test_an_objective_waits_an_outage_out(shell: Shell, database: Database) -> None:
    shell.write("slow.py", OBJECTIVE)
    process = shell.start(
        "run", "--objective", "slow.py:objective", "--trials", "6", "--workers", "2",
        "--pruner", "none", "--storage", database.url,
    )  # fmt: skip
    shell.until(lambda: database.query("SELECT 1 FROM trial_intermediate_values"), "a report")
    database.server.stop()
    time.sleep(4.0)
    database.server.start()
    output, _ = process.communicate(timeout=180)

    assert process.returncode == 0, output
    states = database.query("SELECT state::text, count(*) FROM trials GROUP BY 1")
    assert states == [("COMPLETE", 6)]
    assert database.query("SELECT count(*) FROM trial_intermediate_values") == [(120,)]
    assert database.query("SELECT count(*) FROM trial_params") == [(12,)]
    assert database.query("SELECT count(*) FROM hpo_worker") == [(2,)]


def test_a_study_that_is_deleted_ends_its_workers(
    shell: Shell, database: Database, study: list[str]
) -> None:
    process = shell.start(*study, "--storage", database.url, "--artifacts", "files")
    _until_both_train(shell, database)
    db = open_database(database.url)
    studies.delete(db, study_records.load(db, "small").study_id)
    db.dispose()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 3, output
    assert "no longer" in output or "holds no study" in output
    assert "Traceback" not in output
