"""Runs an Optuna objective unchanged: the whole loop is the user's."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import optuna
from optuna.trial import TrialState

from hpo.run.post import Post
from hpo.store.leases import Lease, Outcome, OutcomeState

Objective: TypeAlias = Callable[[optuna.Trial], float | Sequence[float]]


class LeaseLost(Exception):
    """Raised inside an objective whose trial another worker has taken over."""


class LeasedTrial(optuna.Trial):
    """An Optuna trial that stops reporting once its lease is lost."""

    def __init__(self, study: optuna.Study, trial_id: int, lost: set[int]) -> None:
        super().__init__(study, trial_id)
        self._lost = lost

    def report(self, value: float, step: int) -> None:
        """Reports an intermediate value, as Optuna does.

        Raises:
            LeaseLost: Another worker has this trial now.
        """
        if self._trial_id in self._lost:
            raise LeaseLost
        super().report(value, step)


class ObjectiveExecutor:
    """One call of an objective at a time.

    Args:
        post: The study, its ledger and its search.
        objective: Takes an ``optuna.Trial``, returns its value or values.
    """

    capacity = 1

    def __init__(self, post: Post, objective: Objective) -> None:
        self._post = post
        self._objective = objective
        self._lease: Lease | None = None

    @property
    def held(self) -> frozenset[int]:
        """Id of the trial whose objective runs."""
        return frozenset(() if self._lease is None else (self._lease.trial_id,))

    def begin(self, lease: Lease) -> None:
        """Takes a trial on; ``work`` runs it."""
        self._lease = lease

    def work(self) -> None:
        """Calls the objective to its end and settles the trial."""
        assert self._lease is not None
        lease, post = self._lease, self._post
        try:
            outcome = self._call(lease)
        except LeaseLost:
            outcome = None
        if outcome is not None:
            settled = outcome
            state = _STATES[settled.state]
            post.patiently(lambda: post.search.before_finish(lease.trial_id, state, settled.values))
            post.patiently(lambda: post.ledger.settle([settled]))
        self._lease = None

    def release(self) -> None:
        """Hands back a trial that was taken on and not begun."""
        if self._lease is not None:
            self._post.ledger.settle([_outcome(self._lease, "released", "interrupted")])
            self._lease = None

    def _call(self, lease: Lease) -> Outcome:
        post = self._post
        trial = post.patiently(
            lambda: LeasedTrial(post.search.study_for(lease.trial_id), lease.trial_id, post.lost)
        )
        try:
            result = self._objective(trial)
        except optuna.TrialPruned:
            return _outcome(lease, "pruned", "pruned", values=self._last_value(lease.trial_id))
        except LeaseLost:
            raise
        except Exception:  # noqa: BLE001 - the trial's boundary: user code raises what it likes
            return _outcome(lease, "failed", "user_code", message=traceback.format_exc())
        return self._judge(lease, result)

    def _judge(self, lease: Lease, result: Any) -> Outcome:
        n_expected = len(self._post.study.spec.directions)
        raw = tuple(result) if isinstance(result, Sequence) else (result,)
        try:
            values = tuple(float(value) for value in raw)
        except (TypeError, ValueError):
            message = f"the objective returned {result!r}; a number is needed"
            return _outcome(lease, "failed", "user_code", message=message)
        if len(values) != n_expected:
            message = f"the objective returned {len(values)} values; the study has {n_expected}"
            return _outcome(lease, "failed", "user_code", message=message)
        if any(math.isnan(value) for value in values):
            return _outcome(lease, "failed", "nan", message="the objective returned NaN")
        return _outcome(lease, "complete", "", values=values)

    def _last_value(self, trial_id: int) -> tuple[float, ...] | None:
        reported = self._post.search.reported(trial_id)
        last = reported[max(reported)] if reported else math.nan
        return None if math.isnan(last) else (last,)


_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def _outcome(
    lease: Lease,
    state: OutcomeState,
    reason: str,
    *,
    values: tuple[float, ...] | None = None,
    message: str = "",
) -> Outcome:
    return Outcome(
        trial_id=lease.trial_id,
        token=lease.token,
        state=state,
        values=values,
        reason=reason,
        message=message,
        epoch=lease.epoch,
    )
