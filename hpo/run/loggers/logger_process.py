"""Logger process: follows a study for a logger; its order comes on standard input for its secrets.

Loggers run here, in threads, away from the processes that train: whatever one does costs no trial.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from hpo.run.files.artifacts import Artifacts, identity_of
from hpo.run.loggers.logger import LoggedStudy
from hpo.run.loggers.logger_thread import LoggerThread, place_of
from hpo.spec.logger_choices import LoggerChoice
from hpo.store.db.database import Database
from hpo.store.studies import study_records
from hpo.store.studies.study_records import StudyRecord

logger = logging.getLogger(__name__)
_POLL_S = 0.2


@dataclass(frozen=True)
class LoggerOrder:
    """The order of a logger process.

    Attributes:
        url: The database.
        study_id: The study.
        created_at: Of the study, in ISO format: another may have its id when it was deleted.
        study_name: Of the study.
        artifacts: The root folder for files, if one was asked for.
        choices: The loggers and their targets.
    """

    url: str
    study_id: int
    created_at: str
    study_name: str
    artifacts: str | None
    choices: tuple[LoggerChoice, ...]

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> LoggerOrder:
        """Reads what ``to_json`` wrote."""
        raw = json.loads(text)
        choices = tuple(LoggerChoice(**choice) for choice in raw.pop("choices"))
        return cls(**raw, choices=choices)


def main() -> None:
    """Logs as ordered. Started as ``python -m hpo.run.loggers.logger_process FD``."""
    channel = os.fdopen(int(sys.argv[1]), "w")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    # Loggers of others print what they like, perhaps with secrets.
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for the whole process
    order = LoggerOrder.from_json(sys.stdin.readline())
    finishing = threading.Event()
    threading.Thread(target=_watch, args=(sys.stdin, finishing), daemon=True).start()
    _quieten()
    serve(order, channel, finishing)
    # Threads of loggers and their libraries may hang for minutes.
    sys.stderr.flush()
    os._exit(0)


def serve(order: LoggerOrder, channel: TextIO, finishing: threading.Event) -> None:
    """Follows the study for each logger until ``finishing`` is set and all is logged."""
    lock = threading.Lock()

    def tell(**message: str | int) -> None:
        try:
            with lock:
                channel.write(json.dumps(message) + "\n")
                channel.flush()
        except (BrokenPipeError, ValueError):
            finishing.set()

    threads = make_threads(order, tell, finishing)
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(_POLL_S)


def make_threads(
    order: LoggerOrder, tell: Callable[..., None], finishing: threading.Event
) -> Sequence[LoggerThread]:
    """Opens the study and returns a thread for each logger, not started."""
    created_at = datetime.fromisoformat(order.created_at)
    db = Database(order.url)
    study = study_records.load_again(db, order.study_id, created_at, order.study_name)
    files = Artifacts.of(study, order.url, order.artifacts)
    about = about_of(study, files)
    found = []
    for choice in order.choices:
        journal = files.folder / "loggers" / f"{choice.name}-{_digest(place_of(choice))}.json"
        own = Database(order.url)
        found.append(LoggerThread(own, study, about, choice, journal, tell, finishing))
    db.dispose()
    return found


def about_of(study: StudyRecord, files: Artifacts) -> LoggedStudy:
    """Returns what loggers know of a study."""
    metrics = tuple(study.spec.metrics)
    directions = tuple(study.spec.directions)
    identity = identity_of(study)
    return LoggedStudy(study.name, identity, files.folder.name, metrics, directions)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _quieten() -> None:
    """Lets libraries fail soon, for they are tried again, and keeps them from printing."""
    for name, value in {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)


def _watch(stdin: TextIO, finishing: threading.Event) -> None:
    """Waits for the order to finish; a session that is gone means to leave at once."""
    if stdin.readline() == "finish\n":
        finishing.set()
        stdin.readline()
    # What is not logged is logged by the next session.
    os._exit(0)


if __name__ == "__main__":
    main()
