"""Worker backend: a run of an objective inside a worker, which leases its trial."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import optuna

from hpo.loops.backend import Verdict
from hpo.run.link.context import WorkerContext
from hpo.run.trials.checkpointing import Checkpointer
from hpo.run.trials.external_trial import ExternalTrial
from hpo.run.trials.running_trial import RunningTrial

logger = logging.getLogger(__name__)


class LoopEnded(optuna.TrialPruned):
    """Raised inside an objective whose trial ends in this process; its executor knows how."""


class WorkerBackend:
    """The trial of an objective, whose worker decides.

    Args:
        context: The study, its ledger and its artifacts.
        trial: The trial.
        params: What the objective has asked for, which grows.
        announce: Called with the loop's epochs and whether it resumes; returns how many to train.
    """

    def __init__(
        self,
        context: WorkerContext,
        trial: ExternalTrial,
        params: Callable[[], Mapping[str, Any]],
        announce: Callable[[int | None, bool], int],
    ) -> None:
        spec, number = context.study.spec, trial.lease.number
        self.folder = context.artifacts.trial_folder(number)
        self.metric = spec.metric[0] if spec.metric else None
        self.maximize = spec.directions[0] == "maximize"
        self.seed = context.seed_of(trial.lease)
        self.epoch = trial.lease.epoch
        self.saved: Path | None = None
        self._context = context
        self._trial = trial
        self._params = params
        self._announce = announce
        self._running = RunningTrial.of(trial.lease)
        self._write: Callable[[Path], None] | None = None
        self._checkpointer = Checkpointer(self, context)

    @property
    def params(self) -> Mapping[str, Any]:
        """Hyperparameters that the objective has asked for."""
        return self._params()

    def announce(self, epochs: int | None, *, resumes: bool) -> int:
        """Announces the loop's epochs to the study; see ``TrialBackend.announce``."""
        return self._announce(epochs, resumes)

    def checkpoint(self) -> Path | None:
        """Returns the trial's latest checkpoint, brought here if need be."""
        return self._context.artifacts.latest_checkpoint(self._trial.lease.number)

    def report(self, epoch: int, metrics: Mapping[str, float], metric: str) -> Verdict:
        """Reports an epoch to the database; the search decides."""
        ending = self._trial.report(epoch, metrics, metric)
        is_due = self._checkpointer.is_due(self._running, self._trial.epoch_s)
        if ending is None:
            return Verdict(save=is_due)
        return Verdict(stop=True, save=ending.kind in ("paused", "released"))

    def publish(self, write: Callable[[Path], None]) -> bool:
        """Writes the trial's checkpoint, and shares it with other machines."""
        self._write = write
        if not self._checkpointer.save(self._running):
            return False
        self.saved = self._context.artifacts.checkpoint(self._running.number)
        return True

    def save(self, key: int, path: Path) -> None:
        """Writes the file of a checkpoint; for the checkpointer, which handles errors.

        Raises:
            OSError: It cannot be written; an older one is left as it was.
        """
        assert self._write is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self._write(new)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)

    def leave(self) -> NoReturn:
        """Raises what ends the objective."""
        raise LoopEnded
