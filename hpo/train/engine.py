"""Engines: their interface. Lanes in, epoch reports out, and nothing but data between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from hpo.spec.space.params import Params

Reason: TypeAlias = Literal["nan", "oom", "user_code", "internal"]


@dataclass(frozen=True)
class Lane:
    """One trial as an engine sees it.

    Attributes:
        key: Names the lane towards the engine; a trial's id.
        params: Values of the trial's active parameters; defaults are filled in by the engine.
        seed: What all randomness of the trial follows from; not negative.
        epoch: Epochs that were already reported. The checkpoint knows better where the trial
            stands: epochs that it does not hold are trained again, with the same outcome.
        epoch_stop: Number of epochs after which the assignment is done.
        checkpoint: File to resume from, or what would be in it; None for a trial that begins.
        horizon: Epochs of a full trial, which schedules span; None for ``epoch_stop``. A
            checkpoint's own horizon goes before it, so that one trial keeps one schedule.
        fold: Whose splits it trains and is measured on.
    """

    key: int
    params: Params
    seed: int
    epoch: int
    epoch_stop: int
    checkpoint: Path | bytes | None = None
    horizon: int | None = None
    fold: int = 0


@dataclass(frozen=True)
class Failure:
    """Why a lane cannot continue.

    Attributes:
        reason: ``nan``: the loss or the objective is not finite; ``oom``: out of memory;
            ``user_code``: the task raised, or its params are impossible. ``internal``: hpo's own
            code raised.
        message: What a person should read; for an exception of the task its traceback.
    """

    reason: Reason
    message: str


@dataclass(frozen=True)
class EpochReport:
    """The result of an epoch of a lane.

    Attributes:
        key: The lane.
        epoch: Epochs completed, this one included; of a failed epoch those before it, and 1.
        metrics: ``train_loss``, ``val_loss`` and ``val_*`` for each metric of the task; empty or
            partial after a failure.
        learning_rate: Of the epoch, and of the optimizer's first parameter group.
        seconds: Wall-clock time of training and evaluation together.
        samples_per_s: Training samples by ``seconds``.
        failure: Set when the lane cannot continue.
        is_spent: Whether it need not continue: its ``patience`` is over, and its best epoch stands.
    """

    key: int
    epoch: int
    metrics: Mapping[str, float]
    learning_rate: float
    seconds: float
    samples_per_s: float
    failure: Failure | None = None
    is_spent: bool = False


class Engine(Protocol):
    """Trains lanes.

    What becomes of a lane follows from its seed and params alone: neither from other lanes nor
    from interruptions. An engine leaves the process's random number generators as they were.
    """

    name: str

    @property
    def lane_epochs(self) -> int:
        """Epochs that lanes have trained so far."""

    @property
    def stack_epochs(self) -> int:
        """Epochs that groups of lanes have trained together so far."""

    @property
    def capacity(self) -> int:
        """How many lanes it takes at present; it may learn to take more."""

    def add(self, lane: Lane) -> Failure | None:
        """Builds a lane, or resumes it from its checkpoint.

        A missing or corrupt checkpoint is logged, and the lane starts from epoch 0.

        Returns:
            Why it cannot be trained; it is no lane then.

        Raises:
            ValueError: The engine is full, or holds a lane of this key.
        """

    def advance(self) -> list[EpochReport]:
        """Trains and evaluates lanes for one epoch: all of them, or those whose turn it is.

        A lane that its checkpoint already brought to ``epoch_stop``, or that is spent, reports its
        last epoch once more, and one that failed reports nothing further.

        Raises:
            TaskError: The task does not produce the metric of the study.
        """

    def epoch(self, key: int) -> int:
        """Returns how many epochs a lane has completed."""

    def save(self, key: int, path: Path) -> None:
        """Writes a lane's checkpoint: all at once or not at all."""

    def test(self, key: int) -> dict[str, float]:
        """Returns ``test_*`` metrics with the best epoch's weights; empty without a test split.

        Raises:
            TaskError: The task's code raises.
        """

    def best(self, key: int) -> tuple[int, dict[str, float]]:
        """Returns the best epoch and its metrics; ``(0, {})`` before there is one."""

    def export(self, key: int, path: Path, about: Mapping[str, Any] | None = None) -> None:
        """Writes the weights of the best epoch and the params, for use outside a study.

        The file holds ``state_dict``, ``params``, ``epoch`` and ``metrics`` and loads with
        ``torch.load(path, weights_only=True)``.

        Args:
            key: The lane.
            path: The file.
            about: What else it holds: plain values and tensors by name.
        """

    def remove(self, key: int) -> None:
        """Forgets a lane and frees its memory; nothing happens for an unknown key."""


class PartEngine(Engine, Protocol):
    """An engine whose lanes may be parts of trials: only all parts together tell what is best."""

    def serve(self, n_parts: int) -> None:
        """Makes room for the parts of a trial at least; each epoch waits for ``keep``.

        Args:
            n_parts: Lanes of a trial; none was added yet.
        """

    def dump(self, key: int) -> bytes:
        """Returns what ``save`` would write."""

    def keep(self, key: int, metrics: dict[str, float]) -> None:
        """Takes the epoch that a lane has just reported for its best.

        Args:
            key: The lane.
            metrics: Of the epoch.
        """

    def outputs(self, key: int) -> Any:
        """Returns what the best epoch's weights make of the test samples, of shape [N, ...].

        Returns:
            None without a test split, or before there is a best epoch.

        Raises:
            TaskError: The task's code raises.
        """

    def measure(self, key: int, outputs: Any) -> dict[str, float]:
        """Returns ``test_*`` metrics of outputs for the test samples, of one lane or of several.

        Args:
            key: A lane; its params say what the loss is.
            outputs: Of shape [N, ...].

        Raises:
            TaskError: The task's code raises.
        """
