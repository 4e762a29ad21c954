"""Runs an Optuna objective unchanged: the whole loop is the user's."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import optuna
from optuna.trial import TrialState

from hpo.run.asking import claim
from hpo.run.outage import Stopped
from hpo.run.post import Post, put_down, timed_out
from hpo.run.watch import overtime
from hpo.store.leases import Claim, Lease, Outcome, OutcomeState

Objective: TypeAlias = Callable[[optuna.Trial], float | Sequence[float]]


class LeaseLost(Exception):
    """Raised inside an objective whose trial another worker has taken over."""


class OutOfTime(Exception):
    """Raised inside an objective that takes longer than a trial may; the message says so."""


class LeasedTrial(optuna.Trial):
    """An Optuna trial that ends once its lease is lost, its time is up, or its study has ended.

    Attributes:
        good_enough: A value that it has reported and that has ended the study; else None.
    """

    def __init__(self, study: optuna.Study, trial_id: int, post: Post) -> None:
        super().__init__(study, trial_id)
        self._post = post
        self.good_enough: float | None = None

    def report(self, value: float, step: int) -> None:
        """Reports an intermediate value, as Optuna does.

        Raises:
            LeaseLost: Another worker has this trial now.
            OutOfTime: The trial has taken longer than it may.
        """
        if self._trial_id in self._post.lost:
            raise LeaseLost
        super().report(value, step)
        self._require_time()
        post = self._post
        if self.good_enough is None and post.reaches_target(float(value)):
            study_id = post.study.study_id
            if post.line.ask(lambda: post.ledger.finish_if_reported(study_id), True):
                post.ending, self.good_enough = "target", float(value)

    def should_prune(self) -> bool:
        """Tells whether the pruner would stop the trial, or the study has ended or was stopped.

        Raises:
            OutOfTime: The trial has taken longer than it may.
        """
        self._require_time()
        return bool(self._post.ending) or super().should_prune()

    def _require_time(self) -> None:
        late = overtime(self._post.watch.seconds, None, self._post.trial_s)
        if late:
            raise OutOfTime(late)


class ObjectiveExecutor:
    """One call of an objective at a time.

    During an outage the objective waits in its next report or suggestion; the outcome of one
    that is through is spooled.

    Args:
        post: The study, its ledger and its search, over a patient storage.
        objective: Takes an ``optuna.Trial``, returns its value or values.
    """

    def __init__(self, post: Post, objective: Objective) -> None:
        self._post = post
        self._objective = objective
        self._lease: Lease | None = None

    @property
    def held(self) -> frozenset[int]:
        """Id of the trial whose objective runs."""
        return frozenset(() if self._lease is None else (self._lease.trial_id,))

    @property
    def usage(self) -> None:
        """Nothing: what an objective does inside is its own."""

    @property
    def wanted(self) -> int:
        """Whether there is room for a trial: for one at a time."""
        return int(self._lease is None)

    def claim(self) -> Claim:
        """Takes a trial.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """
        return claim(self._post, self.wanted, self.held)

    def go_on(self) -> None:
        """Nothing: an objective runs to its end."""

    def begin(self, leases: Sequence[Lease]) -> None:
        """Takes a trial on; ``work`` runs it."""
        if leases:
            (self._lease,) = leases

    def work(self) -> None:
        """Calls the objective to its end and settles the trial."""
        assert self._lease is not None
        lease, post = self._lease, self._post
        try:
            outcome = self._call(lease)
        except LeaseLost:
            self._lease = None
            return
        except Stopped:
            # It begins again elsewhere, with the same params: nobody can save its state.
            self.release()
            return
        state, values = _STATES[outcome.state], outcome.values
        post.line.ask(lambda: post.search.before_finish([(lease.trial_id, state, values)]), None)
        post.line.settle([outcome])
        self._lease = None

    def release(self) -> None:
        """Hands back a trial that was taken on and not ended."""
        if self._lease is not None:
            self._post.line.settle([put_down(self._lease, self._lease.epoch)])
            self._lease = None

    def _call(self, lease: Lease) -> Outcome:
        post = self._post
        study = post.search.study_for(lease.trial_id)
        trial = LeasedTrial(study, lease.trial_id, post)
        try:
            with post.watch.over([lease]):
                result = self._objective(trial)
        except optuna.TrialPruned:
            if trial.good_enough is not None:
                # It was told to stop because it is as good as anybody wants.
                return _outcome(lease, "complete", "", values=(trial.good_enough,))
            reason, values = post.ending or "pruned", self._last_value(lease.trial_id)
            return _outcome(lease, "pruned", reason, values=values)
        except LeaseLost:
            raise
        except OutOfTime as error:
            return timed_out(lease, lease.epoch, str(error))
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
