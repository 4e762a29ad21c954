"""Decisions: what a scheduler is asked and what it answers, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeAlias

Note: TypeAlias = Mapping[str, Any]


class Decision(IntEnum):
    """The decision about a running trial after an epoch."""

    GO_ON = 0
    PAUSE = 1
    STOP = 2
    COMPLETE = 3


@dataclass(frozen=True)
class Ask:
    """The request of a worker that has free places.

    Attributes:
        n: Places to fill, those of the trials in ``at_rung`` included.
        n_new: New trials that the budget still allows; None for any number.
        epochs_left: Epochs that the budget still allows each place of all workers, where it
            limits epochs or time; None for any number.
        depth_left: Epochs that any one trial can still have before the study's time is over; None
            for any number.
        at_rung: Numbers of the worker's own trials that have reached the epoch they were
            assigned to; they count as paused, and going on with them costs nothing.
        structural: Names of the parameters that must be equal for trials to be trained as one
            stack; the new points share few combinations of their values.
        structure: Values of these that the new points must have; None to choose.
        memory: The ``memory`` of this worker's last plan.
    """

    n: int
    n_new: int | None = None
    epochs_left: float | None = None
    depth_left: float | None = None
    at_rung: tuple[int, ...] = ()
    structural: tuple[str, ...] = ()
    structure: Note | None = None
    memory: Note = field(default_factory=dict)


@dataclass(frozen=True)
class Advance:
    """Resume a paused trial.

    Attributes:
        number: The trial.
        epoch_stop: Up to which epoch.
        note: Why.
    """

    number: int
    epoch_stop: int
    note: Note = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """Begin a new trial.

    Attributes:
        number: The number it gets if no other worker begins one in between.
        params: Its params, the fixed ones left out; None where Optuna's sampler draws them when
            the trial begins.
        epoch_stop: Up to which epoch it is trained at first.
        note: Why.
    """

    number: int
    params: Mapping[str, Any] | None
    epoch_stop: int
    note: Note = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The scheduler's plan for a worker's free places.

    Attributes:
        assignments: At most ``Ask.n``, the best first.
        finished: Nothing is worth doing, and no running trial can change that.
        note: What all of its assignments have in common: version, seed, model.
        memory: What the scheduler wants to be handed at this worker's next plan; plain JSON.
    """

    assignments: tuple[Advance | Start, ...]
    finished: bool = False
    note: Note = field(default_factory=dict)
    memory: Note = field(default_factory=dict)

    @property
    def starts(self) -> tuple[Start, ...]:
        """The new trials."""
        return tuple(one for one in self.assignments if isinstance(one, Start))

    @property
    def advances(self) -> tuple[Advance, ...]:
        """The paused trials to resume."""
        return tuple(one for one in self.assignments if isinstance(one, Advance))
