"""Callback of Lightning: its trainer reports, saves, resumes and stops as a ``Run`` says.

::

    def objective(trial):
        run = hpo.Run(trial)
        trainer = lightning.Trainer(max_epochs=27, callbacks=[hpo.lightning.Callback(run)])
        trainer.fit(Net(trial), data)
        return run.best
"""

from __future__ import annotations

import logging
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from hpo.errors import TaskError
from hpo.loops import loop_state
from hpo.loops.named_metrics import named_metrics
from hpo.loops.run import Run

try:
    import lightning.pytorch as pl
except ModuleNotFoundError as error:
    raise TaskError(
        f"hpo.lightning needs Lightning: {error}", hint="pip install 'hpo[lightning]'"
    ) from None

logger = logging.getLogger(__name__)
_KEY: Final = "hpo"


class Callback(pl.Callback):
    """Reports each epoch that was validated, saves when due, resumes, and ends the trial.

    An epoch is reported when the next one begins, or at the end: then the schedulers of the
    learning rate have moved, so that a checkpoint holds the epoch as a whole. Several validations
    within an epoch count once; with ``check_val_every_n_epoch=2``, an epoch of the trial is two
    epochs of the trainer.

    Args:
        run: The trial.
        monitor: The logged value that is optimised, such as ``val_acc``; by default the metric of
            the study or of the run, or the only value that is logged.
    """

    def __init__(self, run: Run, monitor: str | None = None) -> None:
        self._run = run
        self._monitor = monitor
        self._is_unreported = False
        self._is_saving = False
        self._is_checked = False
        self._restored: dict[str, Any] | None = None
        self._handler: Any = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Announces the number of epochs, and loads the trial's checkpoint.

        Raises:
            TaskError: The trainer has no number of epochs.
        """
        if stage != "fit":
            return
        every, most = trainer.check_val_every_n_epoch, trainer.max_epochs
        if most is None or most < 1 or every is None:
            raise TaskError(
                "hpo.lightning.Callback reports epochs: it needs Trainer(max_epochs=...), and a "
                "check_val_every_n_epoch that is a number"
            )
        own = max(1, most // every)
        granted = self._run.announce(own, resumes=True)
        if granted < own:
            # Before the model makes its optimizers, whose schedules may span all epochs.
            trainer.fit_loop.max_epochs = granted * every
        self._handler = signal.getsignal(signal.SIGTERM)
        self._load(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gives SIGTERM back to a worker, which ends the trial after an epoch.

        Lightning would leave at once, and lose the epochs since the last checkpoint.
        """
        if callable(self._handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports the epoch before this one, or restores the generators of a resumed trial."""
        if self._restored is not None:
            _set_generators(trainer, self._restored)
            self._restored = None
        self._report(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes that the epoch has been validated."""
        self._is_unreported |= trainer.state.fn == "fit" and trainer.validating

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes that an epoch is complete, where there is no validation."""
        self._is_unreported |= not trainer.enable_validation

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports the last epoch."""
        self._report(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Completes a checkpoint of the trial; others are left as they are."""
        if not self._is_saving:
            return
        for part in (pl_module, getattr(trainer, "datamodule", None)):
            # They may be any object, and the trial's code builds the model anyway.
            for name in ("NAME", "KEY", "TYPE"):
                checkpoint.pop(getattr(part, f"CHECKPOINT_HYPER_PARAMS_{name}", ""), None)
        progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
        for counts in progress.values():
            if isinstance(counts, dict):
                # The next epoch counts as begun; the resumed trial begins it.
                counts["ready"] = counts["started"] = counts["completed"]
        checkpoint[_KEY] = {
            "epoch": self._run.epoch,
            "best": self._run.best,
            "generators": loop_state.generator_states(),
            "loaders": [one.get_state() for one in _loader_generators(trainer)],
        }

    def _report(self, trainer: pl.Trainer) -> None:
        if not self._is_unreported:
            return
        self._is_unreported = False
        values = {n: v for n, v in trainer.callback_metrics.items() if v.numel() == 1}
        verdict = self._run.report_epoch(named_metrics(values, self._run, self._monitor))
        if verdict.save:
            self._save(trainer)
        if verdict.stop:
            self._run.leave()

    def _save(self, trainer: pl.Trainer) -> None:
        self._is_saving = True
        try:
            if trainer.is_global_zero:
                self._run.save(lambda path: self._write(trainer, path))
            else:
                # All processes take part; the first one writes.
                trainer.save_checkpoint(self._run.dir / "unused")
        finally:
            self._is_saving = False

    def _write(self, trainer: pl.Trainer, path: Path) -> None:
        trainer.save_checkpoint(path)
        if self._is_checked or not path.is_file():
            return
        try:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            raise TaskError(
                "the checkpoint could not be loaded again, since something keeps more than plain "
                f"values and tensors in its state: {error}"
            ) from None
        self._is_checked = True

    def _load(self, trainer: pl.Trainer) -> None:
        path = self._run.checkpoint
        if path is None:
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            restored = state.pop(_KEY)
        except Exception as error:  # noqa: BLE001 - whatever a damaged file raises
            logger.warning("%s cannot be read (%s); the trial starts from epoch 0", path, error)
            return
        if self._run.resumed_at(restored["epoch"], restored["best"]):
            self._restored = restored
            # What the trainer does with the file of fit(ckpt_path=...), which has begun by now.
            trainer._checkpoint_connector._loaded_checkpoint = state


def _loader_generators(trainer: pl.Trainer) -> list[torch.Generator]:
    """Returns the generators that the training's loaders have of their own."""
    found: dict[int, torch.Generator] = {}
    for loader in _leaves(trainer.train_dataloader):
        for holder in (loader, getattr(loader, "sampler", None)):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
    return list(found.values())


def _leaves(loaders: Any) -> Iterator[Any]:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if not isinstance(loaders, list | tuple):
        yield loaders
        return
    for part in loaders:
        yield from _leaves(part)


def _set_generators(trainer: pl.Trainer, restored: Mapping[str, Any]) -> None:
    """Sets the generators, as they were when the epoch began."""
    loop_state.set_generator_states(restored["generators"])
    for generator, state in zip(_loader_generators(trainer), restored["loaders"], strict=False):
        generator.set_state(state)
    fetcher = trainer.fit_loop._data_fetcher
    if fetcher is not None and getattr(trainer.fit_loop, "is_resuming", False):
        # A resumed trainer has made its iterator too early, with other random numbers.
        iter(fetcher)
