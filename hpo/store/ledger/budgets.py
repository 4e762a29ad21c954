"""Budgets: pure decisions on the numbers that the ledger has read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hpo.spec.space.finite_space import grid_points
from hpo.spec.study_spec import Budget, StudySpec

UNBOUNDED_EPOCHS = 2**31 - 1
"""Epochs of a trial without a limit: the greatest integer that all databases hold."""


@dataclass(frozen=True)
class Limits:
    """The budget of a study as its row holds it; None means without limit.

    Attributes:
        n_trials: Trials that may ever start.
        epochs: Epochs of one trial.
        total_epochs: Epochs of all trials together.
        deadline_at: When the study ends, naive UTC by the database's clock.
        target: First objective's value that ends the study.
        trial_hours: Hours that one trial may train.
        patience: Trials in a row that may be no better than the best.
    """

    n_trials: int | None
    epochs: int | None
    total_epochs: int | None
    deadline_at: datetime | None
    target: float | None
    trial_hours: float | None = None
    patience: int | None = None

    def with_more_trials(self, n: int) -> Limits:
        """Returns the limits with room for ``n`` more trials, where trials are limited at all."""
        return self if self.n_trials is None else replace(self, n_trials=self.n_trials + n)


def limits(spec: StudySpec, created_at: datetime) -> Limits:
    """Returns a study's budget as limits; its hours count from its creation.

    Raises:
        SpecError: It is a grid with too many points.
    """
    budget, hours, n_trials = spec.budget, spec.budget.hours, spec.budget.trials
    if spec.sampler.name == "grid":
        # A grid is exhausted when each of its points was tried.
        n_points = len(grid_points(spec.space))
        n_trials = min(n_points, n_trials or n_points)
    return Limits(
        n_trials=n_trials,
        epochs=budget.epochs,
        total_epochs=budget.total_epochs,
        deadline_at=None if hours is None else created_at + timedelta(hours=hours),
        target=budget.target,
        trial_hours=budget.trial_hours,
        patience=budget.patience,
    )


def n_startable(n_trials: int | None, n_started: int, n_wanted: int) -> int:
    """Returns how many of the wanted trials may start when ``n_started`` already have."""
    if n_trials is None:
        return n_wanted
    return max(0, min(n_wanted, n_trials - n_started))


def shares(wants: Sequence[int], epochs_left: int | None) -> list[int]:
    """Returns shares of the epochs left, in order: each is what is wanted, or what is left.

    Args:
        wants: Epochs that each trial can use.
        epochs_left: What may still be handed out; None for any number.

    Returns:
        One share for each of ``wants``.
    """
    if epochs_left is None:
        return list(wants)
    given = []
    for want in wants:
        share = max(0, min(want, epochs_left))
        epochs_left -= share
        given.append(share)
    return given


def grew(old: Budget, new: Budget) -> bool:
    """Returns whether a study that is done under ``old`` may continue under ``new``."""
    pairs = (
        (old.trials, new.trials),
        (old.epochs, new.epochs),
        (old.total_epochs, new.total_epochs),
        (old.hours, new.hours),
        (old.patience, new.patience),
    )
    more = any(before is not None and (now is None or now > before) for before, now in pairs)
    return more or (old.target is not None and new.target != old.target)


def trial_s(trial_hours: float | None) -> float | None:
    """Returns the seconds that one trial may train; None for any number."""
    return None if trial_hours is None else 3600.0 * trial_hours
