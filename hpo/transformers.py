"""Callback of Transformers: its trainer reports, saves, resumes and stops as a ``Run`` says.

::

    def objective(trial):
        run = hpo.Run(trial)
        callback = hpo.transformers.Callback(run)
        trainer = Trainer(..., callbacks=[callback])  # with eval_strategy="epoch"
        trainer.train(resume_from_checkpoint=callback.checkpoint)
        return run.best
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any, Final

from hpo.errors import TaskError
from hpo.loops.backend import Verdict
from hpo.loops.named_metrics import named_metrics
from hpo.loops.run import Run

try:
    import transformers
except ModuleNotFoundError as error:
    raise TaskError(
        f"hpo.transformers needs Transformers: {error}", hint="pip install 'hpo[transformers]'"
    ) from None

logger = logging.getLogger(__name__)
_STATE: Final = "hpo.json"
_PREFIX: Final = "eval_"
_NO_METRICS: Final = ("_runtime", "_per_second", "_preparation_time")


class Callback(transformers.TrainerCallback):
    """Reports each epoch that was evaluated, saves when due, and ends the trial.

    The trainer saves its own checkpoints, also with ``save_strategy="no"``; the trial keeps a copy
    of the last one that was due. Of several evaluation sets, those that come before the one with
    the metric are reported with it.

    Args:
        run: The trial.
        monitor: The evaluated value that is optimised, such as ``eval_accuracy``; by default the
            metric of the study or of the run, else the only value beside the loss, else the loss.
    """

    def __init__(self, run: Run, monitor: str | None = None) -> None:
        self._run = run
        self._monitor = monitor
        self._metrics: dict[str, Any] = {}
        self._verdict = Verdict()
        self._most = 0
        self._is_training = False
        self._was_asked = False
        self._resumed_from: Path | None = None

    @property
    def checkpoint(self) -> str | None:
        """The folder for ``trainer.train(resume_from_checkpoint=...)``; None at first."""
        if not self._was_asked:
            self._was_asked, self._resumed_from = True, self._find()
        return None if self._resumed_from is None else str(self._resumed_from)

    def on_train_begin(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Announces the number of epochs.

        Raises:
            TaskError: The trainer's arguments do not let it report each epoch, or resume.
        """
        _require_usable(args, self._run.dir)
        if not self._was_asked:
            raise TaskError(
                "a trial that was interrupted could not be resumed",
                hint="write trainer.train(resume_from_checkpoint=callback.checkpoint)",
            )
        self._is_training = True
        self._most = self._run.announce(state.num_train_epochs, resumes=True)

    def on_epoch_begin(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Checks that the epoch before this one was reported."""
        self._require_reported()

    def on_evaluate(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Reports the epoch, and lets the trainer save or stop."""
        if not self._is_training or not state.global_step:
            return
        self._metrics |= {n: v for n, v in (metrics or {}).items() if not n.endswith(_NO_METRICS)}
        wanted = self._wanted
        if wanted is not None and wanted not in self._named:
            # It may be of another evaluation set.
            return
        self._verdict = self._run.report_epoch(self._values())
        self._metrics = {}
        control.should_save = control.should_save or self._verdict.save
        is_over = self._verdict.stop or self._run.epoch >= self._most
        control.should_training_stop = control.should_training_stop or is_over

    def on_save(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Keeps the checkpoint that was due."""
        if not self._verdict.save:
            return
        self._verdict = Verdict(stop=self._verdict.stop)
        written = Path(str(args.output_dir), f"checkpoint-{state.global_step}")
        self._run.save(lambda path: self._copy(written, path))
        if args.save_strategy == "no" and state.is_world_process_zero:
            shutil.rmtree(written, ignore_errors=True)

    def on_train_end(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Ends the trial, where it was told to stop."""
        self._is_training = False
        if self._resumed_from is not None:
            # Unpacked for this one time.
            shutil.rmtree(self._resumed_from.parent, ignore_errors=True)
        self._require_reported()
        if self._verdict.stop:
            self._run.leave()

    @property
    def _wanted(self) -> str | None:
        return self._run.metric or self._monitor

    @property
    def _named(self) -> dict[str, Any]:
        """The values; without the trainer's prefix where the metric has none."""
        wanted = self._wanted or ""
        if wanted in self._metrics or f"{_PREFIX}{wanted}" not in self._metrics:
            return self._metrics
        return {name.removeprefix(_PREFIX): value for name, value in self._metrics.items()}

    def _values(self) -> dict[str, float]:
        values = {n: v for n, v in self._named.items() if isinstance(v, int | float)}
        others = [f"{_PREFIX}loss"] if len(values) > 1 else []
        return named_metrics(values, self._run, self._monitor, others)

    def _require_reported(self) -> None:
        if self._metrics:
            # Says which value is missing.
            self._values()

    def _copy(self, written: Path, path: Path) -> None:
        shutil.copytree(written, path, copy_function=_linked)
        best = None if math.isnan(self._run.best) else self._run.best
        text = json.dumps({"epoch": self._run.epoch, "best": best})
        (path / _STATE).write_text(text, encoding="utf-8")

    def _find(self) -> Path | None:
        path = self._run.checkpoint
        if path is None:
            return None
        try:
            state = json.loads((path / _STATE).read_text(encoding="utf-8"))
            is_resumed = self._run.resumed_at(state["epoch"], state["best"])
        except (OSError, ValueError, KeyError) as error:
            logger.warning("%s cannot be read (%s); the trial starts from epoch 0", path, error)
            return None
        return path if is_resumed else None


def _require_usable(args: transformers.TrainingArguments, folder: Path) -> None:
    """Refuses arguments with which a trial cannot report, or be resumed.

    Raises:
        TaskError: With the argument to give.
    """
    if args.eval_strategy != "epoch":
        raise TaskError(
            "hpo.transformers.Callback reports the evaluation of each epoch",
            hint='give TrainingArguments(eval_strategy="epoch")',
        )
    if args.save_only_model or args.save_strategy == "best":
        raise TaskError(
            "a trial resumes from whole checkpoints of the epochs that hpo chooses",
            hint='give TrainingArguments save_strategy="no" or "epoch", and no save_only_model',
        )
    if not Path(str(args.output_dir)).resolve().is_relative_to(folder.resolve()):
        raise TaskError(
            f"trials would write into one folder, {args.output_dir}",
            hint="give TrainingArguments(output_dir=run.dir), a folder of the trial's own",
        )


def _linked(source: str, target: str) -> None:
    """Copies a file without its contents, where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
