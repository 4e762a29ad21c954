"""Supervisor pipe: the order that a worker reads from it, and the messages that it sends back."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from dataclasses import dataclass
from typing import TextIO

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerOrder:
    """The order of a worker process; the URL may hold a password, so it is never an argument.

    Attributes:
        url: The database.
        study_name: The study that it works on.
        artifacts: The root folder for files, if one was asked for.
        allow: Tasks and objectives that this machine's user named.
        base_dir: Folder that relative paths of the study refer to.
        study_id: Of the study, which may be renamed; None to go by its name.
        created_at: Of the study, in ISO format: another may have its id when it was deleted.
        device: As PyTorch names it; the supervisor sets it for each worker.
        n_threads: Threads of PyTorch's CPU kernels.
    """

    url: str
    study_name: str
    artifacts: str | None
    allow: tuple[str, ...]
    base_dir: str | None
    study_id: int | None = None
    created_at: str = ""
    device: str = "cpu"
    n_threads: int = 1

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerOrder:
        """Reads what ``to_json`` wrote."""
        raw = json.loads(text)
        return cls(**{**raw, "allow": tuple(raw["allow"])})


class SupervisorPipe:
    """Messages from a worker to its supervisor: one JSON object a line.

    Args:
        stream: The supervisor reads its other end.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._has_reported = False

    def note_report(self) -> None:
        """Tells once that this process has reported an epoch, so that its death costs little."""
        if not self._has_reported:
            self._has_reported = True
            self.send(reported=True)

    def send(self, **message: str | int | None) -> None:
        """Sends a message, from any thread; a supervisor that has gone is no error."""
        try:
            with self._lock:
                self._stream.write(json.dumps(message) + "\n")
                self._stream.flush()
        except (BrokenPipeError, ValueError):
            logger.info("the supervisor has closed its pipe")
