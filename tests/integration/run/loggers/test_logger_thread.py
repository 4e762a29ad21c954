"""A logger's thread: it stands by while another process logs, and takes over from it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo.run.loggers import logger_thread
from hpo.run.loggers.logger_thread import LoggerThread, place_of
from hpo.spec.logger_choices import LoggerChoice
from hpo.store.db.database import Database
from tests.kits.logged_trials import LoggedTrials, RecordingLogger

pytestmark = [pytest.mark.integration, pytest.mark.slow]
_HOLDER = """
import sys, time
from hpo.store.db.database import Database
from hpo.store.studies import logger_leases
url, study_id, place = sys.argv[1:]
print(logger_leases.acquire(Database(url), int(study_id), place), flush=True)
time.sleep(600)
"""


def test_it_takes_over_when_the_process_that_logs_is_killed(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = LoggedTrials(sqlite_database, tmp_path)
    trials.report(trials.claim(), [1, 2])
    choice = LoggerChoice("mlflow", "http://lab:5000")
    order = [sqlite_database.url, str(trials.study_id), place_of(choice)]
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, *order], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    logger = RecordingLogger()
    factory: Callable[..., Any] = lambda target, study: logger  # noqa: E731
    monkeypatch.setattr(logger_thread, "factory_of", lambda name: factory)
    monkeypatch.setattr(logger_thread, "STANDBY_S", 0.05)
    monkeypatch.setattr(logger_thread, "POLL_S", 0.05)
    told: list[dict[str, Any]] = []
    stands_by, finishing = threading.Event(), threading.Event()

    def tell(**message: Any) -> None:
        told.append(message)
        stands_by.set() if "warning" in message else None
        if "logged" in message and logger.held.get(0) == 2:
            finishing.set()

    db = Database(sqlite_database.url)
    thread = LoggerThread(db, trials.study, trials.about, choice, None, tell, finishing)
    thread.start()
    try:
        assert stands_by.wait(30)
        assert told[0]["warning"].startswith("mlflow: another process logs this study there")
        assert logger.calls == []
        holder.kill()
        holder.wait()
        thread.join(30)
    finally:
        finishing.set()
        holder.kill()
        holder.stdout.close()
        db.dispose()
    assert logger.calls == ["begin 0", "log 0: [1, 2]", "close"]
