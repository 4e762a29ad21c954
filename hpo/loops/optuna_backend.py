"""Optuna backend: a run under plain ``study.optimize``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import optuna
from optuna.storages import RetryFailedTrialCallback
from optuna.study import StudyDirection

from hpo.errors import TaskError
from hpo.loops.backend import Verdict
from hpo.loops.save_pace import SavePace
from hpo.optuna_internals import has_failed_trial_callback

_ANY_EPOCH = 2**31


class OptunaBackend:
    """A trial of plain Optuna, whose sampler and pruner decide.

    Checkpoints are only written where the study's storage retries failed trials: a retried trial
    resumes where the failed one was saved.

    Args:
        trial: Optuna's.
    """

    def __init__(self, trial: optuna.Trial | optuna.trial.FixedTrial) -> None:
        self._trial = trial
        study = getattr(trial, "study", None)
        self.params: Mapping[str, Any] = trial.params
        self.metric: str | None = None
        self._n_directions = 1 if study is None else len(study.directions)
        directions = [StudyDirection.MINIMIZE] if study is None else study.directions
        self.maximize = directions[0] == StudyDirection.MAXIMIZE
        self.epoch = _ANY_EPOCH
        name = "fixed" if study is None else study.study_name
        digest = hashlib.sha256(f"{name}/{trial.number}".encode()).digest()
        self.seed = int.from_bytes(digest[:4], "big")
        self._retries = study is not None and has_failed_trial_callback(study)
        first = trial.number
        if study is not None and self._retries:
            frozen = study.get_trials(deepcopy=False)[trial.number]
            retried = RetryFailedTrialCallback.retried_trial_number(frozen)
            first = trial.number if retried is None else retried
        self.folder = Path("hpo.artifacts", "optuna", _safe(name), f"trial-{first:06}").absolute()
        self._pace = SavePace()

    def announce(self, epochs: int | None, *, resumes: bool) -> int:
        """Returns the loop's own number: plain Optuna has no budget of epochs."""
        if epochs is None:
            raise TaskError("run.epochs needs a number of epochs under plain Optuna")
        return epochs

    def checkpoint(self) -> Path | None:
        """Returns the checkpoint of the failed trial that this one retries."""
        return self._file if self._retries and self._file.exists() else None

    def report(self, epoch: int, metrics: Mapping[str, float], metric: str) -> Verdict:
        """Reports to Optuna, and asks its pruner; with several objectives it does neither."""
        epoch_s = self._pace.note_epoch()
        save = self._retries and self._pace.is_due(epoch_s)
        if self._n_directions > 1:
            return Verdict(save=save)
        self._trial.report(metrics[metric], epoch)
        return Verdict(stop=self._trial.should_prune(), save=save)

    def publish(self, write: Callable[[Path], None]) -> bool:
        """Writes the checkpoint; what goes wrong is the caller's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new, began_s = self._file.with_suffix(".new"), time.monotonic()
        write(new)
        new.replace(self._file)
        self._pace.note_saved(time.monotonic() - began_s)
        return True

    def leave(self) -> NoReturn:
        """Raises Optuna's ``TrialPruned``."""
        raise optuna.TrialPruned

    @property
    def _file(self) -> Path:
        return self.folder / "checkpoint.pt"


def _safe(name: str) -> str:
    """Returns a folder's name for a study of any name."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:80]
    return kept if kept == name and kept.strip(".") else f"{kept}-{digest}"
