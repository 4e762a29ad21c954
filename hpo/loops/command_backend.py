"""Command backend: a run in a script that hpo has started as a command, or that runs by hand."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from hpo.errors import TaskError
from hpo.loops.backend import Verdict
from hpo.loops.save_pace import SavePace

logger = logging.getLogger(__name__)
_ANSWER_S: Final = 60.0
"""How long a script waits for its worker's answer before it trains on."""


class CommandBackend:
    """A trial whose worker started this script; the worker decides.

    Epochs are lines of JSON in the trial's ``metrics.jsonl``. The worker's answer comes over a
    socket; a script that finds none trains on. Of the processes that ``torchrun`` starts, the first
    one writes, and all have the same answer.

    Args:
        environment: As hpo has set it; by default this process's.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self.folder = Path(environment["HPO_TRIAL_DIR"])
        self.params: Mapping[str, Any] = _params(environment)
        self.metric = (environment.get("HPO_METRIC") or "").partition(",")[0] or None
        direction = (environment.get("HPO_DIRECTION") or "").partition(",")[0]
        self.maximize = direction == "maximize"
        self.seed = int(environment.get("HPO_SEED") or 0)
        self.epoch = int(environment.get("HPO_REPORTED") or 0)
        self._is_first = (environment.get("RANK") or "0") == "0"
        self._pace = SavePace()
        self._worker = _WorkerSocket(environment.get("HPO_SOCKET"))

    def announce(self, epochs: int | None, *, resumes: bool) -> int:
        """Tells the worker whether the script resumes, and how many epochs it has."""
        own = int(self._environment.get("HPO_EPOCHS") or 0)
        answer = self._worker.ask({"resumes": resumes, "epochs": epochs})
        granted = answer.get("epochs")
        return int(granted) if granted else min(filter(None, (epochs, own)), default=1)

    def checkpoint(self) -> Path | None:
        """Returns the trial's file, if it was written."""
        return self._file if self._file.exists() else None

    def report(self, epoch: int, metrics: Mapping[str, float], metric: str | None) -> Verdict:
        """Appends the epoch to the trial's file, and waits for the worker's answer."""
        if self._is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"epoch": epoch, **metrics}) + "\n"
            # One write, so that a reader sees whole lines.
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(line)
        epoch_s = self._pace.note_epoch()
        answer = self._worker.ask({"epoch": epoch})
        stop = bool(answer.get("stop"))
        is_due = bool(answer.get("save")) and self._pace.is_due(epoch_s)
        return Verdict(stop=stop, save=stop or is_due)

    def publish(self, write: Callable[[Path], None]) -> bool:
        """Writes the checkpoint; of several processes the first one does."""
        if not self._is_first:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        new, began_s = self._file.with_suffix(".new"), time.monotonic()
        try:
            write(new)
            new.replace(self._file)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._file, error)
            return False
        self._pace.note_saved(time.monotonic() - began_s)
        return True

    def leave(self) -> NoReturn:
        """Ends the script with exit code 0."""
        raise SystemExit(0)

    @property
    def _file(self) -> Path:
        return self.folder / "checkpoint.pt"


class StandaloneBackend:
    """A script that is run by hand: nothing stops it, and nothing is saved."""

    def __init__(self) -> None:
        self.params: Mapping[str, Any] = {}
        self.folder = Path("run").absolute()
        self.metric: str | None = None
        self.maximize = True
        self.seed = 0
        self.epoch = 0

    def announce(self, epochs: int | None, *, resumes: bool) -> int:
        """Returns the loop's own number.

        Raises:
            TaskError: It has none.
        """
        if epochs is None:
            raise TaskError("run.epochs needs a number of epochs where hpo does not run the script")
        return epochs

    def checkpoint(self) -> Path | None:
        """Returns None: a run by hand begins anew."""
        return None

    def report(self, epoch: int, metrics: Mapping[str, float], metric: str) -> Verdict:
        """Returns that the loop continues."""
        return Verdict()

    def publish(self, write: Callable[[Path], None]) -> bool:
        """Writes a file, so that code which saves is tried as well."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.folder / "checkpoint.pt")
        return True

    def leave(self) -> NoReturn:
        """Ends the script."""
        raise SystemExit(0)


class _WorkerSocket:
    """Questions to the worker, one line of JSON each, and its answers."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._unread = b""

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the worker's answer; an empty one where there is none."""
        if not self._path:
            return {}
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.settimeout(_ANSWER_S)
                self._socket.connect(self._path)
            self._socket.sendall(json.dumps(question).encode() + b"\n")
            answer = json.loads(self._line())
        except (OSError, ValueError) as error:
            logger.warning("hpo's worker does not answer (%s); the script trains on", error)
            self._close()
            return {}
        return answer if isinstance(answer, dict) else {}

    def _line(self) -> bytes:
        assert self._socket is not None
        ends_at = time.monotonic() + _ANSWER_S
        while b"\n" not in self._unread:
            chunk = self._socket.recv(65536)
            if not chunk or time.monotonic() > ends_at:
                raise ConnectionError("the connection was closed")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket, self._path = None, None


def _params(environment: Mapping[str, str]) -> dict[str, Any]:
    path = environment.get("HPO_PARAMS_FILE")
    if not path:
        return {}
    params: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return params
