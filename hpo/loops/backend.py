"""Trial backend: what stands behind a ``Run``, such as a worker of hpo or plain Optuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol


@dataclass(frozen=True)
class Verdict:
    """The answer to a report.

    Attributes:
        stop: The loop must end now; a checkpoint is written before, if ``save`` is set.
        save: A checkpoint is due.
    """

    stop: bool = False
    save: bool = False


class TrialBackend(Protocol):
    """One trial, as the process that trains it reaches it.

    Attributes:
        params: Hyperparameters that are known beforehand; empty where the loop suggests them.
        folder: Folder of the trial, for files of the user's own; it may not exist yet.
        metric: The metric that is optimised; None where the loop decides.
        maximize: Whether larger values of it are better.
        seed: Seed of the trial.
        epoch: Epochs that were reported before this process began with the trial.
    """

    params: Mapping[str, Any]
    folder: Path
    metric: str | None
    maximize: bool
    seed: int
    epoch: int

    def announce(self, epochs: int | None, *, resumes: bool) -> int:
        """Announces how many epochs the loop has.

        Args:
            epochs: At most so many; None for those of the study's budget.
            resumes: Whether the loop restores itself from its checkpoints.

        Returns:
            How many it has to train at most.
        """

    def checkpoint(self) -> Path | None:
        """Returns the file to resume from, on this machine; None where there is none."""

    def report(self, epoch: int, metrics: Mapping[str, float], metric: str) -> Verdict:
        """Reports an epoch, once; epochs that were reported before are ignored.

        Args:
            epoch: Epochs that are complete, from 1.
            metrics: All values of the epoch.
            metric: The one of them that is optimised.
        """

    def publish(self, write: Callable[[Path], None]) -> bool:
        """Writes a checkpoint of the last epoch that was reported; an older one stays until then.

        Args:
            write: Writes the file whose path it gets.

        Returns:
            Whether it was written; a full disk, for one, is no error of the trial.
        """

    def leave(self) -> NoReturn:
        """Leaves the loop after a verdict to stop: raises what ends the trial here."""
