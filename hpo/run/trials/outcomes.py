"""Outcomes: how the trials of a worker ended or were handed back, as the ledger records them."""

from __future__ import annotations

from typing import Final

from optuna.trial import TrialState

from hpo.store.ledger.leases import Lease, Outcome
from hpo.train.engine import Failure

STATES: Final = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""Optuna's state of a trial, by the state of its outcome."""


def complete(lease: Lease, epoch: int, values: tuple[float, ...]) -> Outcome:
    """Returns the outcome of a trial that has its values; its event says which worker it had."""
    reason = "complete"
    return Outcome(lease.trial_id, lease.token, "complete", values, reason, epoch=epoch)


def pruned(
    lease: Lease, epoch: int, reason: str, values: tuple[float, ...] | None, message: str = ""
) -> Outcome:
    """Returns the outcome of a trial that was stopped; its values are the last that it reported."""
    return Outcome(lease.trial_id, lease.token, "pruned", values, reason, message, epoch=epoch)


def failed(lease: Lease, epoch: int, reason: str, message: str) -> Outcome:
    """Returns the outcome of a trial that failed."""
    return Outcome(lease.trial_id, lease.token, "failed", None, reason, message, epoch=epoch)


def timed_out(lease: Lease, epoch: int, message: str) -> Outcome:
    """Returns the outcome of a trial that took longer than it may."""
    return failed(lease, epoch, "timeout", message)


def of_failure(lease: Lease, epoch: int, failure: Failure) -> Outcome:
    """Returns the outcome of a trial that cannot be trained further."""
    # A diverged trial says something about its params: samplers learn from pruned trials, and
    # leave failed ones out.
    if failure.reason == "nan":
        return pruned(lease, epoch, failure.reason, None, failure.message)
    return failed(lease, epoch, failure.reason, failure.message)


def paused(lease: Lease, epoch: int, checkpoint: str | None) -> Outcome:
    """Returns the outcome of a trial that waits at its stop until the search resumes it."""
    return Outcome(lease.trial_id, lease.token, "paused", checkpoint=checkpoint, epoch=epoch)


def released(lease: Lease, epoch: int, checkpoint: str | None = None) -> Outcome:
    """Returns the outcome of a trial that any worker can resume."""
    return Outcome(
        trial_id=lease.trial_id,
        token=lease.token,
        state="released",
        reason="interrupted",
        checkpoint=checkpoint,
        epoch=epoch,
    )
