"""Objective executor: runs an Optuna objective unchanged, whose whole loop is the user's."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import optuna

from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.run.link.context import WorkerContext
from hpo.run.link.retry import Stopped
from hpo.run.trials import outcomes
from hpo.run.trials.executor import Executor
from hpo.run.trials.leased_trial import LeasedTrial, LeaseLost, OutOfTime
from hpo.run.trials.objective_values import Returned, judged
from hpo.run.trials.search_errors import LOST, SearchFailed, before_finish
from hpo.store.ledger.leases import Claim, Lease, Outcome
from hpo.store.rows.events import Event
from hpo.store.studies import study_endings
from hpo.tracebacks import is_internal, report_of, text_of

Objective: TypeAlias = Callable[[optuna.Trial], float | Sequence[float]]


class ObjectiveExecutor(Executor):
    """Runs one call of an objective at a time.

    During an outage the objective waits in its next report or suggestion; the outcome of one
    that has returned is kept until the database is back.

    Args:
        context: The study, its ledger and its search, over a retrying storage.
        objective: Takes an ``optuna.Trial``, returns its value or values.
    """

    def __init__(self, context: WorkerContext, objective: Objective) -> None:
        self._context = context
        self._objective = objective
        self._assigner = SamplerAssigner(context)
        self._lease: Lease | None = None
        self._is_last = False
        self._stop_reason = ""

    @property
    def held(self) -> frozenset[int]:
        """Id of the trial whose objective runs."""
        return frozenset(() if self._lease is None else (self._lease.trial_id,))

    @property
    def usage(self) -> None:
        """None: an objective has no stacks."""

    @property
    def wanted(self) -> int:
        """1 if there is room for a trial, else 0."""
        return int(self._lease is None)

    def claim(self) -> Claim:
        """Claims a trial.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """
        return self._assigner.claim(self.wanted, self.held)

    def continue_offline(self) -> None:
        """Does nothing: an objective runs to its end."""

    def begin(self, leases: Sequence[Lease]) -> None:
        """Holds a trial; ``work`` runs it."""
        if leases:
            (self._lease,) = leases

    def work(self) -> None:
        """Calls the objective to its end and settles the trial.

        Raises:
            SearchFailed: The sampler raises; the trial begins again elsewhere.
        """
        assert self._lease is not None
        lease = self._lease
        try:
            outcome = self._call(lease)
        except LeaseLost:
            self._lease = None
            return
        except Stopped:
            # It begins again elsewhere, with the same params: an objective has no checkpoint.
            self.release()
            return
        self._settle(lease, outcome)
        self._lease = None
        self._end_study()

    def release(self) -> None:
        """Releases a trial that has not ended."""
        if self._lease is not None:
            self._context.client.settle([outcomes.released(self._lease, self._lease.epoch)])
            self._lease = None

    def _settle(self, lease: Lease, outcome: Outcome) -> None:
        end = (lease, outcomes.STATES[outcome.state], outcome.values)
        failure = before_finish(self._context, [end])
        self._context.client.settle([outcome])
        if failure is not None:
            self._lease = None
            raise failure

    def _end_study(self) -> None:
        """Ends the study if the trial that has just ended calls for it."""
        context, study_id = self._context, self._context.study.study_id
        if self._is_last:
            reason = study_endings.BY_OBJECTIVE
            context.client.call(lambda: study_endings.finish(context.db, study_id, reason))
        elif self._stop_reason:
            event = Event(
                study_id, study_endings.WRONG_COUNT, self._stop_reason, worker_id=context.worker_id
            )
            stop = partial(
                study_endings.stop,
                context.db,
                study_id,
                self._stop_reason,
                [event],
                without_results=True,
            )
            context.client.call(stop)
        self._is_last, self._stop_reason = False, ""

    def _call(self, lease: Lease) -> Outcome:
        context, trial = self._context, None
        try:
            with context.watchdog.watch([lease]):
                trial = LeasedTrial(lease.trial_id, context)
                returned = judged(self._objective(trial), len(context.study.spec.directions))
        except (LeaseLost, Stopped):
            raise
        except KeyboardInterrupt:
            # As after Ctrl-C, the trial can be resumed later.
            context.stop.set()
            raise Stopped from None
        except optuna.TrialPruned as error:
            if trial is not None and trial.good_enough is not None:
                # It was stopped because it has reached the target.
                outcome = outcomes.complete(lease, lease.epoch, (trial.good_enough,))
            else:
                outcome = self._pruned(lease, text_of(error))
        except OutOfTime as error:
            outcome = outcomes.timed_out(lease, lease.epoch, str(error))
        except BaseException as error:  # noqa: BLE001 - the trial's boundary: user code may raise anything
            outcome = self._failed(lease, error)
        else:
            outcome = self._returned(lease, returned)
        if trial is not None:
            if trial.failure is not None:
                raise trial.failure
            self._is_last = trial.own_study.is_stopped
        return outcome

    def _failed(self, lease: Lease, error: BaseException) -> Outcome:
        """Returns the outcome of a trial whose code has raised.

        Raises:
            StoreError: The database fails: that is not the trial's fault.
            SearchFailed: Nor are faults of the sampler.
            LeaseLost: The trial was cancelled: its outcome no longer matters.
        """
        self._context.client.require_usable()
        if isinstance(error, (SearchFailed, *LOST)) and not self._context.owned([lease]):
            raise LeaseLost from error
        if isinstance(error, SearchFailed):
            raise error
        reason = "internal" if is_internal(error) else "user_code"
        return outcomes.failed(lease, lease.epoch, reason, report_of(error))

    def _pruned(self, lease: Lease, message: str) -> Outcome:
        reason, values = self._context.ending or "pruned", None
        with contextlib.suppress(*LOST):
            values = self._last_value(lease.trial_id)
        return outcomes.pruned(lease, lease.epoch, reason, values, message)

    def _returned(self, lease: Lease, returned: Returned) -> Outcome:
        if returned.n_values is not None:
            self._stop_reason = returned.message
        if returned.values is None:
            return outcomes.failed(lease, lease.epoch, returned.reason, returned.message)
        return outcomes.complete(lease, lease.epoch, returned.values)

    def _last_value(self, trial_id: int) -> tuple[float, ...] | None:
        reported = self._context.search.reported(trial_id)
        last = reported[max(reported)] if reported else math.nan
        return None if math.isnan(last) else (last,)
