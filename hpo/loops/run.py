"""Run: a training loop of the user's own that reports, pauses and resumes."""

from __future__ import annotations

import logging
import math
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from hpo.errors import TaskError, did_you_mean
from hpo.loops.backend import TrialBackend, Verdict
from hpo.loops.backends import backend_of

logger = logging.getLogger(__name__)
_UNPACKED: Final = "checkpoint"


class Run:
    """One trial of a training loop.

    ::

        def objective(trial):
            run = hpo.Run(trial)
            model, optimizer = build(trial)
            run.restore(model=model, optimizer=optimizer)
            for epoch in run.epochs(27):
                train(model, optimizer)
                run.report(val_accuracy=evaluate(model))
            return run.best

    A trial whose worker was killed resumes after its last checkpoint. The search may pause a trial
    after a report, and resume it later or on another machine. It also works under plain Optuna, in
    a script that hpo runs as a command, and in a script that is run by hand.

    Args:
        trial: The trial of an objective; None in a script.
        metric: The reported value that is optimised, where the study names none: by default the
            study's metric, else the first that is reported.

    Raises:
        TaskError: The trial is none of Optuna's.
    """

    def __init__(self, trial: Any = None, *, metric: str | None = None) -> None:
        self._backend: TrialBackend = backend_of(trial)
        self._metric = metric
        self._objects: dict[str, Any] = {}
        self._generators: Mapping[str, Any] | None = None
        self._n_epochs: int | None = None
        self._epoch = 0
        self._best: float | None = None

    @property
    def params(self) -> Mapping[str, Any]:
        """Hyperparameters of the trial; in an objective ``trial.suggest_*`` gives them."""
        return self._backend.params

    @property
    def dir(self) -> Path:
        """Folder of the trial, for files of your own; the same when the trial is resumed here."""
        self._backend.folder.mkdir(parents=True, exist_ok=True)
        return self._backend.folder

    @property
    def seed(self) -> int:
        """Seed of the trial, below 2**32: ``torch.manual_seed(run.seed)`` makes it repeatable."""
        return self._backend.seed

    @property
    def metric(self) -> str | None:
        """The reported value that is optimised; None where it is the first that is reported."""
        return self._backend.metric or self._metric

    @property
    def epoch(self) -> int:
        """Epochs that are complete, those before an interruption included."""
        return self._epoch

    @property
    def best(self) -> float:
        """The best value of the metric until now; NaN before the first report."""
        return math.nan if self._best is None else self._best

    @property
    def checkpoint(self) -> Path | None:
        """What ``save`` wrote last, to resume from: a file or a folder; None without one."""
        path = self._backend.checkpoint()
        if path is None or not tarfile.is_tarfile(path):
            return path
        unpacked = Path(tempfile.mkdtemp(dir=self.dir, prefix=f".{_UNPACKED}-"))
        with tarfile.open(path) as archive:
            archive.extractall(unpacked, filter="data")
        return unpacked / _UNPACKED

    def restore(self, **objects: Any) -> bool:
        """Restores objects from the trial's checkpoint, and keeps them in the next ones.

        Call it once, with all of them, before ``epochs``.

        Args:
            **objects: Anything with ``state_dict`` and ``load_state_dict``; generators of Python,
                NumPy or PyTorch; lists and dicts of plain values, which are changed in place.

        Returns:
            Whether there was a checkpoint. The first time there is none.

        Raises:
            TaskError: An object cannot be kept, or the checkpoint does not fit the objects.
        """
        from hpo.loops import loop_state

        for name, thing in objects.items():
            loop_state.state_of(name, thing)
        self._objects = dict(objects)
        path = self._backend.checkpoint()
        if path is None:
            return False
        try:
            state = loop_state.read(path)
        except Exception as error:  # noqa: BLE001 - whatever a damaged file raises
            logger.warning("%s cannot be read (%s); the trial starts from epoch 0", path, error)
            return False
        if state["epoch"] > self._backend.epoch:
            # The reports after it were lost: the curve would have a hole.
            logger.warning("%s is ahead of the reports; the trial starts from epoch 0", path)
            return False
        self._load(state)
        return True

    def epochs(self, n: int | None = None) -> Iterator[int]:
        """Yields the numbers of the epochs to train, from 1, after the last saved one.

        Args:
            n: Epochs of the whole trial; by default those of the study's budget. Where the study
                has a budget of epochs, at most so many are trained.

        Raises:
            TaskError: An epoch was not reported.
        """
        n_epochs = self.announce(n)
        if self._generators is not None:
            from hpo.loops import loop_state

            # Only now: building the model has drawn from them.
            loop_state.set_generator_states(self._generators)
        for epoch in range(self._epoch + 1, n_epochs + 1):
            yield epoch
            if self._epoch < epoch:
                raise TaskError(
                    f"epoch {epoch} was not reported",
                    hint="call run.report(...) once in each epoch of run.epochs",
                )

    def report(self, **metrics: Any) -> None:
        """Reports the epoch that is complete; saves a checkpoint when one is due.

        Args:
            **metrics: Values of the epoch, by their names: numbers, or tensors of one number.

        Raises:
            BaseException: The trial ends here: it was stopped, or is paused to be resumed later.
                The exception has to leave the loop.
        """
        verdict = self.report_epoch(metrics)
        if verdict.save and self._objects:
            from hpo.loops import loop_state

            self.save(lambda path: loop_state.write(path, self._epoch, self._best, self._objects))
        if verdict.stop:
            self.leave()

    # For loops that belong to a framework, which save and end in their own ways.

    def announce(self, n: int | None = None, *, resumes: bool | None = None) -> int:
        """Announces the number of epochs, and returns how many to train at most.

        Args:
            n: As in ``epochs``.
            resumes: Whether the loop resumes from what ``save`` writes; by default whether it has
                called ``restore``.
        """
        if n is not None and n < 1:
            raise TaskError(f"a trial has at least 1 epoch; {n} were announced")
        resumes = bool(self._objects) if resumes is None else resumes
        self._n_epochs = self._backend.announce(n, resumes=resumes)
        return self._n_epochs

    def report_epoch(self, metrics: Mapping[str, Any], epoch: int | None = None) -> Verdict:
        """Reports an epoch without saving or leaving: both are the caller's to do, in this order.

        Args:
            metrics: Values of the epoch, by their names: numbers, or tensors of one number.
            epoch: Epochs that are complete; by default one more than before.

        Raises:
            TaskError: A value is no number, or the metric is not among them.
        """
        values = {name: _number(name, value) for name, value in metrics.items()}
        metric = self._metric_of(values)
        self._epoch = self._epoch + 1 if epoch is None else epoch
        value = values[metric]
        if not math.isnan(value) and (self._best is None or self._is_better(value)):
            self._best = value
        return self._backend.report(self._epoch, values, metric)

    def save(self, write: Callable[[Path], None]) -> bool:
        """Saves a checkpoint of the epoch that was reported last.

        Args:
            write: Writes a file or a folder to the path that it gets, which does not exist.

        Returns:
            Whether it was saved. A full disk ends no trial: an older checkpoint stays.
        """
        return self._backend.publish(lambda path: _write_file(write, path, self.dir))

    def resumed_at(self, epoch: int, best: float | None = None) -> bool:
        """Notes that a framework resumes from its own checkpoint, written after an epoch.

        Returns:
            Whether it may: reports before the checkpoint may have been lost.
        """
        if epoch > self._backend.epoch:
            logger.warning("the checkpoint is ahead of the reports; the trial starts from epoch 0")
            return False
        self._epoch = epoch
        self._best = None if best is None or math.isnan(best) else best
        return True

    def leave(self) -> NoReturn:
        """Ends the trial in this process, after a verdict to stop.

        Raises:
            BaseException: It has to leave the objective, or the script.
        """
        self._backend.leave()

    def _load(self, state: Mapping[str, Any]) -> None:
        from hpo.loops import loop_state

        saved = state["objects"]
        if set(saved) != set(self._objects):
            raise TaskError(
                f"the checkpoint of this trial has {_listed(saved)}; run.restore was called with "
                f"{_listed(self._objects)}",
                hint="begin a study under a new name after a change of what is restored",
            )
        for name, thing in self._objects.items():
            loop_state.set_state(name, thing, saved[name])
        self._epoch, self._best = int(state["epoch"]), state["best"]
        self._generators = state["generators"]

    def _metric_of(self, values: Mapping[str, float]) -> str:
        if not values:
            raise TaskError("run.report needs a value, such as run.report(val_accuracy=0.91)")
        wanted = self.metric
        if wanted is None:
            return next(iter(values))
        if wanted not in values:
            raise TaskError(
                f"run.report has no {wanted!r}, which the study optimises; it has "
                f"{_listed(values)}{did_you_mean(wanted, values)}"
            )
        return wanted

    def _is_better(self, value: float) -> bool:
        assert self._best is not None
        return value > self._best if self._backend.maximize else value < self._best


def _write_file(write: Callable[[Path], None], path: Path, place: Path) -> None:
    """Writes a checkpoint as one file: a folder becomes an archive.

    Args:
        write: Writes a file or a folder.
        path: Of the file.
        place: Folder for what is written meanwhile.
    """
    with tempfile.TemporaryDirectory(dir=place, prefix=".writing-") as folder:
        made = Path(folder) / _UNPACKED
        write(made)
        if not made.is_dir():
            shutil.move(made, path)
            return
        with tarfile.open(path, "w") as archive:
            archive.add(made, arcname=_UNPACKED)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except Exception:  # noqa: BLE001 - each kind of tensor refuses in its own way
        raise TaskError(f"run.report: {name} is no number but {value!r:.200}") from None


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "nothing"
