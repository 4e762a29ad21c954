"""Leases, reports and outcomes: what the ledger hands out and takes in, as pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

OutcomeState: TypeAlias = Literal["complete", "pruned", "failed", "paused", "released"]
StudyState: TypeAlias = Literal["active", "paused", "stopped", "done"]


@dataclass(frozen=True)
class Lease:
    """An assignment: advance this trial from ``epoch`` to ``epoch_stop``.

    Attributes:
        study_id: The study.
        trial_id: The trial, unique in the database.
        number: The trial, counted within the study from 0.
        worker_id: The owner.
        token: Differs for every grant; the owner shows it with everything it writes.
        attempt: 1 for a trial that was never lost, one more for each time it was.
        epoch: Epochs reported so far, 0 for a new trial. The checkpoint may be older.
        epoch_stop: Epochs after which to settle. It equals ``epoch`` where the trial's last owner
            died between its last report and its settlement.
        checkpoint: Where to resume from, by its last owner.
        seconds: Duration of its epochs reported so far.
        is_new: The trial begins with this lease, and was not enqueued: it has no params.
    """

    study_id: int
    trial_id: int
    number: int
    worker_id: int
    token: int
    attempt: int
    epoch: int
    epoch_stop: int
    checkpoint: str | None
    seconds: float = 0.0
    is_new: bool = False


@dataclass(frozen=True)
class AssignmentRequest:
    """An assignment that a worker asks for.

    Attributes:
        trial_id: A paused trial, or one of the worker's own that is at its ``epoch_stop``; None
            for a new trial.
        epoch: Its epochs so far, as the worker knows; 0 for a new trial.
        epoch_stop: How far to train it.
    """

    trial_id: int | None
    epoch: int
    epoch_stop: int


@dataclass(frozen=True)
class AssignmentRequests:
    """The assignments that a worker asks for in a study whose trials pause.

    Attributes:
        ordered: The most wanted first.
        first_stop: How far to train enqueued trials.
        finished_at: ``last_token`` of the `StudyStatus` in which no worker trains and nothing is
            worth training any more; None where that is not so.
        reason: Why the study ends then: budget, patience, or exhausted where every point of its
            space was tried.
    """

    ordered: tuple[AssignmentRequest, ...] = ()
    first_stop: int = 1
    finished_at: int | None = None
    reason: str = "budget"


@dataclass(frozen=True)
class LeaseStatus:
    """The lease of an unfinished trial, as others see it.

    Attributes:
        is_held: A worker owns it.
        epoch: Epochs reported.
        epoch_stop: The end of its present or last assignment.
    """

    is_held: bool
    epoch: int
    epoch_stop: int


@dataclass(frozen=True)
class StudyStatus:
    """The remaining budget of a study, and the leases of its unfinished trials.

    Attributes:
        last_token: Grows with every lease that is granted.
        epochs: Most epochs of one trial; None without a limit.
        n_new: Trials that may still begin; None for any number.
        epochs_left: Epochs that are neither spent nor reserved; None for any number.
        leases: By trial_id.
        seconds_left: Until the deadline; None without one.
        epoch_s: Mean seconds of an epoch of the unfinished trials; None where there is no deadline
            or no epoch.
    """

    last_token: int
    epochs: int | None
    n_new: int | None
    epochs_left: int | None
    leases: Mapping[int, LeaseStatus]
    seconds_left: float | None = None
    epoch_s: float | None = None


@dataclass(frozen=True)
class Claim:
    """The answer to a claim.

    Attributes:
        leases: At most as many as were asked for. The lease of a trial that the worker holds keeps
            its token, and has a later ``epoch_stop``.
        exhausted: No lease will follow unless budgets or the study's state change.
        reason: Why there are no leases. With ``exhausted``: budget, target, deadline, stopped
            or done; without: waiting (for others' trials to end) or paused.
        n_missed: Requests that could not be granted, because other workers were faster.
    """

    leases: tuple[Lease, ...]
    exhausted: bool
    reason: str
    n_missed: int = 0


@dataclass(frozen=True)
class EpochRow:
    """One epoch of one trial, as its worker reports it.

    Attributes:
        trial_id: The trial.
        token: Of the lease.
        epoch: Epochs completed, from 1.
        metrics: Every metric by its name.
        objective: Becomes Optuna's intermediate value at step ``epoch``; None reports none.
        learning_rate: At the end of the epoch.
        seconds: Duration of the epoch.
        samples_per_s: Training samples per second.
    """

    trial_id: int
    token: int
    epoch: int
    metrics: Mapping[str, float]
    objective: float | None
    learning_rate: float | None
    seconds: float
    samples_per_s: float | None


@dataclass(frozen=True)
class Outcome:
    """The end of an assignment.

    Attributes:
        trial_id: The trial.
        token: Of the lease.
        state: complete, pruned and failed end the trial. paused and released keep it, to be
            continued by any worker; one that has reached its ``epoch_stop`` waits until a worker
            asks for it.
        values: One an objective; None for none.
        reason: The kind of the event that is recorded, such as pruned, nan, oom, user_code,
            interrupted; empty for no event.
        message: The event's text.
        checkpoint: Where to resume from; None keeps the one before.
        user_attrs: Optuna's user attributes to set, with values for JSON.
        epoch: Epochs completed.
    """

    trial_id: int
    token: int
    state: OutcomeState
    values: tuple[float, ...] | None = None
    reason: str = ""
    message: str = ""
    checkpoint: str | None = None
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0


@dataclass(frozen=True)
class Renewal:
    """The answer to a heartbeat.

    Attributes:
        state: Of the study; ``gone`` when the study or the worker is no longer known.
        ending: Why running trials should end at their next epoch: stopped, deadline, target,
            budget or gone; empty while they should continue.
        held: The trials whose lease this worker has. Compare with the trials that the worker held
            *before* the call: a trial claimed meanwhile may be missing here.
        trial_s: Seconds that one trial may train; None for any number.
        patience: As in `Limits`; None without early stopping.
        target: First objective's value that ends the study; None without one.
    """

    state: str
    ending: str
    held: frozenset[int]
    trial_s: float | None = None
    patience: int | None = None
    target: float | None = None
