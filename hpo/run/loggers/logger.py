"""Logger: copies the curves and endings of a study's trials to another program.

A package adds one by an entry point of the group ``hpo.loggers``: a function that takes a target,
which is a text or None, and a ``LoggedStudy``, and returns a ``Logger``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias


@dataclass(frozen=True)
class LoggedStudy:
    """What a logger knows of a study.

    Attributes:
        name: Its name.
        identity: Tells it from every other study, also from one of the same name.
        folder: A name for a folder of its own.
        metrics: The objectives.
        directions: ``maximize`` or ``minimize``, for each objective.
    """

    name: str
    identity: str
    folder: str
    metrics: tuple[str, ...]
    directions: tuple[str, ...]


@dataclass(frozen=True)
class LoggedTrial:
    """What a logger knows of a trial when its curve begins.

    Attributes:
        number: Counted within the study from 0.
        params: Value of every parameter, the fixed ones included.
        began_at: Seconds since 1970.
    """

    number: int
    params: Mapping[str, Any]
    began_at: float


@dataclass(frozen=True)
class LoggedEpoch:
    """An epoch of a trial; of an Optuna objective, a step.

    Attributes:
        epoch: From 1; an objective chooses its steps, from 0.
        metrics: All values of the epoch, by name.
        at: When it was reported, in seconds since 1970, by the database's clock.
    """

    epoch: int
    metrics: Mapping[str, float]
    at: float


@dataclass(frozen=True)
class TrialEnding:
    """How a trial ended.

    Attributes:
        state: ``COMPLETE``, ``PRUNED`` or ``FAIL``.
        values: Of its objectives, by name; empty where it has none.
        at: When, in seconds since 1970.
        best_epoch: The epoch of the values; None where that is not known.
        reason: Why, in a word; empty for a complete trial.
        message: What its event says.
        is_best: Whether no trial of the study that ended before it is as good.
    """

    state: str
    values: Mapping[str, float]
    at: float
    best_epoch: int | None = None
    reason: str = ""
    message: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class StudyEnding:
    """How a study ended: all its trials have, too.

    Attributes:
        state: ``done`` or ``stopped``.
        reason: Why.
        has_failed: Whether it stopped itself because its trials failed.
        n_trials: Trials that have ended.
        best: Number of the best trial; None without one.
        best_value: Its objective.
    """

    state: str
    reason: str
    has_failed: bool
    n_trials: int
    best: int | None = None
    best_value: float | None = None


class Logger(Protocol):
    """Copies what it is given. One thread calls it, outside the processes that train.

    Each method may raise: it is called again with the same, after a pause, so it must be safe to
    repeat. No trial waits for it.
    """

    def begin(self, trial: LoggedTrial) -> int:
        """Begins the curve of a trial, or continues it after an interruption.

        Returns:
            The last epoch that it has already, -1 for none: those after it are logged next.
        """

    def log(self, trial: LoggedTrial, epochs: Sequence[LoggedEpoch]) -> None:
        """Adds epochs to the curve of a trial that has begun."""

    def pause(self, trial: LoggedTrial) -> None:
        """Marks a trial that does not train now; it may begin again."""

    def end(self, trial: LoggedTrial, ending: TrialEnding) -> None:
        """Ends the curve of a trial."""

    def finish(self, ending: StudyEnding) -> None:
        """Marks the end of the study; it may be continued later."""

    def close(self) -> None:
        """Writes what is still to be written."""


Factory: TypeAlias = Callable[[str | None, LoggedStudy], Logger]
