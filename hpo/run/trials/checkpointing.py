"""Checkpointing: when and how the checkpoints and models of running trials are written."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from hpo.loops.save_pace import SavePaceSettings
from hpo.run.link.context import WorkerContext
from hpo.run.link.retry import Stopped, backoff
from hpo.run.trials.running_trial import RunningTrial
from hpo.tracebacks import headline, internal, is_internal, report_of
from hpo.train.engine import Engine

logger = logging.getLogger(__name__)
_PACE: Final = SavePaceSettings()
RETRY_S: Final = 5.0
"""How long a disk that takes no files is left alone."""

DISK: Final = "artifacts"
"""Kind of the event of files that cannot be written."""


class Saver(Protocol):
    """Writes a running trial's state to a file."""

    def save(self, key: int, path: Path) -> None:
        """Writes the checkpoint of a trial; an older one is replaced, or left as it was."""


class Checkpointer:
    """Writes the checkpoints and models of running trials, and decides when one is due.

    A disk that takes no files ends no trial: checkpoints are left out, and a complete trial waits
    until its model is kept. The warning is given once for each time that it happens.

    Args:
        saver: Writes the files, such as the engine that trains the trials.
        context: The study and its artifacts.
    """

    def __init__(self, saver: Saver, context: WorkerContext) -> None:
        self._saver = saver
        self._context = context
        self._saving_s = 0.0
        self._warning = ""
        self._next_try_at = 0.0

    def is_due(self, trial: RunningTrial, epoch_s: float) -> bool:
        """Returns whether to save a trial that has trained for one more epoch.

        Args:
            trial: The trial.
            epoch_s: Its share of the seconds that the epoch took.
        """
        trial.unsaved_s += epoch_s
        if self._warning and time.monotonic() < self._next_try_at:
            return False
        return _PACE.is_due(epoch_s, trial.unsaved_s, self._saving_s)

    def save(self, trial: RunningTrial) -> bool:
        """Writes the checkpoint of a trial; its epochs must have been reported.

        Returns:
            Whether it is written: where not, an older one is as it was.
        """
        began_s = time.perf_counter()
        path = self._context.artifacts.checkpoint(trial.number)
        try:
            self._saver.save(trial.key, path)
        except OSError as error:
            self._note_disk_error(path, error)
            return False
        except Exception as error:  # noqa: BLE001 - a model may hold what no file can
            self._warn(f"trial {trial.number} has no checkpoint", error)
            return False
        self._note_success()
        self._context.artifacts.share(path)
        self._saving_s = time.perf_counter() - began_s
        trial.unsaved_s = 0.0
        return True

    def export(self, trial: RunningTrial, engine: Engine) -> None:
        """Writes the model of a trial that is complete, and waits until its disk takes it.

        Args:
            trial: The trial.
            engine: Has its best weights.

        Raises:
            Stopped: The worker was told to leave while it waited.
        """
        path, context = self._context.artifacts.model(trial.number), self._context
        for pause_s in backoff():
            try:
                engine.export(trial.key, path, self._metadata(trial))
            except OSError as error:
                self._note_disk_error(path, error)
            except Exception as error:  # noqa: BLE001 - a model may hold what no file can
                self._warn(f"trial {trial.number} has no file of its model", error)
                return
            else:
                self._note_success()
                context.artifacts.share(path)
                return
            if trial.key in context.client.lost or context.stop.wait(pause_s):
                break
        if trial.key not in context.client.lost:
            raise Stopped

    def _metadata(self, trial: RunningTrial) -> Mapping[str, Any] | None:
        context = self._context
        if context.model_metadata is None:
            return None
        return context.model_metadata(trial.number, context.seed_of(trial.lease))

    def _note_disk_error(self, path: Path, error: OSError) -> None:
        self._next_try_at = time.monotonic() + RETRY_S
        folder = self._context.artifacts.folder
        why = error.strerror or headline(error)
        text = (
            f"{folder} cannot be written ({why}): trials continue without checkpoints, "
            "and complete ones wait until their models can be kept"
        )
        logger.warning("%s: %s", path, headline(error))
        if not self._warning:
            self._warning = text
            self._context.warn_once(DISK, text)

    def _note_success(self) -> None:
        if self._warning:
            self._context.forget_warning(self._warning)
            self._warning = ""
            logger.info("%s can be written again", self._context.artifacts.folder)

    def _warn(self, what: str, error: Exception) -> None:
        logger.warning("%s: %s", what, report_of(error))
        if is_internal(error):
            self._context.warn_once("internal", internal(what, error), report_of(error))
        else:
            self._context.warn_once(DISK, f"{what}: {headline(error)}")
