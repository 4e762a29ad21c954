"""A trial whose verdicts a test has written down, for callbacks of frameworks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import hpo
from hpo.loops.backend import Verdict


class Paused(Exception):
    """What ends the trial in this process."""


class ScriptedBackend:
    """Saves and pauses after given epochs, and keeps what was reported.

    Args:
        folder: Of the trial; the checkpoint in it is there for the next one.
        metric: That of the study.
        stop_at: Epoch after which the trial is saved and paused.
        most: Epochs of the study's budget.
    """

    def __init__(
        self,
        folder: Path,
        metric: str | None = None,
        stop_at: int | None = None,
        most: int | None = None,
        epoch: int = 1000,
    ) -> None:
        self.params: Mapping[str, Any] = {}
        self.folder, self.metric, self.epoch = folder, metric, epoch
        self.maximize, self.seed = True, 0
        self.reported: dict[int, dict[str, float]] = {}
        self.metrics: list[str] = []
        self.announced: int | None = None
        self._stop_at, self._most = stop_at, most
        self._file = folder / "kept"

    def trial_backend(self) -> ScriptedBackend:
        """What makes it a trial for ``hpo.Run``."""
        return self

    def announce(self, epochs: int | None, *, resumes: bool) -> int:
        assert resumes
        self.announced = epochs
        return min(filter(None, (epochs, self._most)))

    def checkpoint(self) -> Path | None:
        return self._file if self._file.exists() else None

    def report(self, epoch: int, metrics: Mapping[str, float], metric: str) -> Verdict:
        self.reported[epoch] = dict(metrics)
        self.metrics.append(metric)
        is_stop = epoch == self._stop_at
        return Verdict(stop=is_stop, save=is_stop)

    def publish(self, write: Callable[[Path], None]) -> bool:
        new = self._file.with_suffix(".new")
        write(new)
        new.replace(self._file)
        return True

    def leave(self) -> NoReturn:
        raise Paused


def run_of(backend: ScriptedBackend) -> hpo.Run:
    """Returns the run of a trial."""
    backend.folder.mkdir(parents=True, exist_ok=True)
    return hpo.Run(backend)
