"""W&B logger: a run for each trial, in a group for each study, online or offline.

``WANDB_MODE``, ``WANDB_ENTITY``, ``WANDB_BASE_URL`` and the login of this machine count as they do
in every program that uses wandb.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import wandb
from wandb.proto import wandb_internal_pb2 as messages

from hpo.run.loggers.logger import LoggedEpoch, LoggedStudy, LoggedTrial, StudyEnding, TrialEnding

DEFAULT_PROJECT: Final = "hpo"
_BLOCK: Final = 32_768
_FILE_HEADER: Final = 7
_RECORD_HEADER: Final = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class WandbLogger:
    """Logs to Weights & Biases.

    Args:
        target: The project; by default ``$WANDB_PROJECT``, or else ``hpo``.
        study: The study.
    """

    def __init__(self, target: str | None, study: LoggedStudy) -> None:
        self._project = target or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT
        self._study = study
        self._folder = Path(os.environ.get("WANDB_DIR") or ".").absolute()
        self._runs: dict[int, Any] = {}

    def begin(self, trial: LoggedTrial) -> int:
        """Creates the run of a trial or resumes it; returns its last epoch, -1 for none."""
        self._close(trial.number)
        run_id = f"{self._study.identity}-{trial.number}"
        self._wait_for_a_new_folder(run_id)
        run = wandb.init(
            project=self._project,
            id=run_id,
            name=f"trial {trial.number}",
            group=self._study.name,
            config=dict(trial.params),
            dir=str(self._folder),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )
        self._runs[trial.number] = run
        # Of a run online, the server says which step is next.
        written = (epoch for path in self._files(run_id) for epoch in epochs_in(path))
        return max([-1, run.step - 1 if run.step else -1, *written])

    def log(self, trial: LoggedTrial, epochs: Sequence[LoggedEpoch]) -> None:
        """Logs epochs as steps."""
        run = self._runs[trial.number]
        for epoch in epochs:
            run.log({**epoch.metrics, "epoch": epoch.epoch}, step=epoch.epoch, commit=True)

    def pause(self, trial: LoggedTrial) -> None:
        """Closes the run; it is resumed by its id."""
        self._close(trial.number)

    def end(self, trial: LoggedTrial, ending: TrialEnding) -> None:
        """Writes the trial's values into the run's summary, and ends it."""
        if trial.number not in self._runs:
            self.begin(trial)
        run = self._runs[trial.number]
        for name, value in ending.values.items():
            run.summary[f"objective/{name}"] = value
        run.summary["state"] = ending.state
        if ending.best_epoch is not None:
            run.summary["best_epoch"] = ending.best_epoch
        if ending.reason:
            run.summary["reason"] = ending.reason
        self._close(trial.number, int(ending.state == "FAIL"))

    def finish(self, ending: StudyEnding) -> None:
        """Does nothing: a group has no state."""

    def close(self) -> None:
        """Closes all runs; those of interrupted trials are resumed by their ids."""
        for number in list(self._runs):
            self._close(number)

    def _close(self, number: int, exit_code: int = 0) -> None:
        run = self._runs.pop(number, None)
        if run is not None:
            run.finish(exit_code=exit_code)

    def _wait_for_a_new_folder(self, run_id: str) -> None:
        """Waits out a second in which the run has a folder: wandb would overwrite what it has."""
        while any(self._folder.glob(f"wandb/*-{time.strftime('%Y%m%d_%H%M%S')}-{run_id}")):
            time.sleep(0.05)

    def _files(self, run_id: str) -> list[Path]:
        return sorted(self._folder.glob(f"wandb/*-{run_id}/run-{run_id}.wandb"))


def epochs_in(path: Path) -> Iterator[int]:
    """Yields the steps in the file of a run; what a killed writer has left half is no step.

    The file is a log of LevelDB's format, whose records are wandb's messages.

    Source: https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    for content in _records(path.read_bytes()):
        record = messages.Record()  # type: ignore[attr-defined]
        try:
            record.ParseFromString(content)
        except Exception:  # noqa: BLE001 - protobuf's error, whose class differs by version
            return
        if record.HasField("history"):
            yield int(record.history.step.num)


def _records(data: bytes) -> Iterator[bytes]:
    at, parts = _FILE_HEADER, b""
    while at + _RECORD_HEADER <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _RECORD_HEADER:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        end = at + _RECORD_HEADER + size
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or end > len(data):
            return
        parts += data[at + _RECORD_HEADER : end]
        at = end
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""
