"""Objective executor: runs an Optuna objective, whose whole loop is the user's."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import optuna

from hpo.run.assignment.scheduling import make_assigner
from hpo.run.link.context import WorkerContext
from hpo.run.link.retry import Stopped
from hpo.run.trials import outcomes
from hpo.run.trials.artifact_gc import sweep
from hpo.run.trials.external_trial import ExternalTrial
from hpo.run.trials.leased_trial import LeasedTrial, LeaseLost, OutOfTime
from hpo.run.trials.objective_values import Returned, judged
from hpo.run.trials.search_errors import LOST, SearchFailed
from hpo.run.trials.single_trial import SingleTrialExecutor
from hpo.run.trials.worker_backend import WorkerBackend
from hpo.store.ledger.leases import Lease, Outcome
from hpo.store.rows.events import Event
from hpo.store.studies import resumption, study_endings
from hpo.tracebacks import is_internal, report_of, text_of

Objective: TypeAlias = Callable[[optuna.Trial], float | Sequence[float]]


class ObjectiveExecutor(SingleTrialExecutor):
    """Runs one call of an objective at a time.

    An objective with an ``hpo.Run`` reports epochs, and is paused and resumed; any other one runs
    to its end. During an outage the objective waits in its next report or suggestion, but for
    reports of a run, which are kept; so is the outcome of one that has returned.

    Args:
        context: The study, its ledger and its search, over a retrying storage.
        objective: Takes an ``optuna.Trial``, returns its value or values.
    """

    def __init__(self, context: WorkerContext, objective: Objective) -> None:
        self._objective = objective
        call = partial(resumption.resumes, context.db, context.study.study_id)
        self._is_resumable = bool(context.client.call(call))
        super().__init__(context, make_assigner(context, resumable=self._is_resumable))
        self._lease: Lease | None = None
        self._external: ExternalTrial | None = None
        self._backend: WorkerBackend | None = None
        self._is_last = False
        self._stop_reason = ""

    @property
    def held(self) -> frozenset[int]:
        """Id of the trial whose objective runs."""
        return frozenset(() if self._lease is None else (self._lease.trial_id,))

    def begin(self, leases: Sequence[Lease]) -> None:
        """Holds a trial; ``work`` runs it."""
        if leases:
            (self._lease,) = leases

    def work(self) -> None:
        """Calls the objective until it returns or is paused, and settles the trial.

        Raises:
            SearchFailed: The sampler raises; the trial begins again elsewhere.
        """
        assert self._lease is not None
        try:
            outcome = self._call(self._lease)
        except LeaseLost:
            self._forget()
            return
        except Stopped:
            # It is resumed elsewhere, or begins again with the same params.
            self.release()
            return
        failure = self._settle(self._present_lease, outcome)
        self._drop_checkpoint(outcome)
        self._forget()
        if failure is not None:
            raise failure
        self._end_study()

    def release(self) -> None:
        """Releases a trial that has not ended, and one that was granted and has not begun."""
        if self._lease is not None:
            lease, external = self._present_lease, self._external
            epoch = lease.epoch if external is None else external.epoch
            self._context.client.settle([outcomes.released(lease, epoch, self._checkpoint)])
            self._forget()
        claim, self._next_claim = self._next_claim, None
        self._release_granted(claim)
        if self._is_resumable:
            # The study may have ended, and its paused trials with it.
            sweep(self._context)

    # The trial's loop, where it is a run.

    @property
    def _present_lease(self) -> Lease:
        assert self._lease is not None
        return self._lease if self._external is None else self._external.lease

    @property
    def _checkpoint(self) -> str | None:
        saved = None if self._backend is None else self._backend.saved
        return None if saved is None else str(saved)

    def _make_backend(self, trial: optuna.Trial) -> WorkerBackend:
        assert self._lease is not None
        n_epochs = self._context.study.spec.budget.epochs
        external = ExternalTrial(self._context, self._assigner, self._lease, n_epochs=n_epochs)
        self._external = external
        self._backend = WorkerBackend(
            self._context, external, lambda: trial.params, partial(self._announce, external)
        )
        return self._backend

    def _announce(self, external: ExternalTrial, epochs: int | None, resumes: bool) -> int:
        """Returns how many epochs a trial has; the first that resumes decides for its study."""
        context = self._context
        if resumes:
            study_id = context.study.study_id
            call = partial(resumption.announce, context.db, study_id, epochs)
            external.n_epochs = context.client.call(call)
            external.can_pause = True
            if not self._is_resumable:
                self._is_resumable = True
                self._assigner = make_assigner(context, resumable=True)
                external.use(self._assigner)
        else:
            most = context.study.spec.budget.to_given().get("epochs")
            external.n_epochs = min(filter(None, (epochs, most)), default=external.n_epochs)
        return external.n_epochs

    def _forget(self) -> None:
        if self._external is not None and self._external.next_claim is not None:
            self._next_claim = self._external.next_claim
        self._lease = self._external = self._backend = None

    def _drop_checkpoint(self, outcome: Outcome) -> None:
        if self._external is not None and outcome.state in outcomes.STATES:
            artifacts, number = self._context.artifacts, self._external.lease.number
            artifacts.drop(artifacts.checkpoint(number))
            with contextlib.suppress(OSError):
                # Where it is empty; what the objective has written there stays.
                artifacts.trial_folder(number).rmdir()

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
                trial = LeasedTrial(lease.trial_id, context, self._make_backend)
                returned = judged(self._objective(trial), len(context.study.spec.directions))
        except (LeaseLost, Stopped):
            raise
        except KeyboardInterrupt:
            # As after Ctrl-C, the trial can be resumed later.
            context.stop.set()
            raise Stopped from None
        except optuna.TrialPruned as error:
            outcome = self._stopped_early(lease, trial, error)
        except OutOfTime as error:
            outcome = outcomes.timed_out(lease, self._epoch(lease), str(error))
        except BaseException as error:  # noqa: BLE001 - the trial's boundary: user code may raise anything
            outcome = self._failed(lease, error)
        else:
            outcome = self._returned(lease, returned)
        if trial is not None:
            if trial.failure is not None:
                raise trial.failure
            self._is_last = trial.own_study.is_stopped
        return self._run_outcome() or outcome

    def _stopped_early(
        self, lease: Lease, trial: LeasedTrial | None, error: optuna.TrialPruned
    ) -> Outcome:
        """Returns the outcome of an objective that has raised ``TrialPruned``."""
        by_run = self._run_outcome()
        if by_run is not None:
            # Nothing has to be read for it: the database may be away.
            return by_run
        if trial is not None and trial.good_enough is not None:
            # It was stopped because it has reached the target.
            return outcomes.complete(lease, self._epoch(lease), (trial.good_enough,))
        return self._pruned(lease, text_of(error))

    def _run_outcome(self) -> Outcome | None:
        """Returns how the run has ended the trial, whatever the objective made of that.

        Raises:
            LeaseLost: Another worker has the trial now.
        """
        if self._external is None or self._external.ending is None:
            return None
        self._stop_reason = ""
        outcome = self._external.outcome(self._checkpoint)
        if outcome is None:
            raise LeaseLost
        return outcome

    def _epoch(self, lease: Lease) -> int:
        return lease.epoch if self._external is None else self._external.epoch

    def _failed(self, lease: Lease, error: BaseException) -> Outcome:
        """Returns the outcome of a trial whose code has raised.

        Raises:
            StoreError: The database fails: that is not the trial's fault.
            SearchFailed: Nor are faults of the sampler.
            LeaseLost: The trial was cancelled: its outcome no longer matters.
            Stopped: The worker was told to leave, and the code has left for that.
        """
        if isinstance(error, SystemExit) and self._context.stop.is_set():
            # Lightning's trainer leaves at once after the SIGTERM that stops the worker.
            raise Stopped from error
        self._context.client.require_usable()
        if isinstance(error, (SearchFailed, *LOST)) and not self._context.owned([lease]):
            raise LeaseLost from error
        if isinstance(error, SearchFailed):
            raise error
        reason = "internal" if is_internal(error) else "user_code"
        return outcomes.failed(lease, self._epoch(lease), reason, report_of(error))

    def _pruned(self, lease: Lease, message: str) -> Outcome:
        reason, values = self._context.ending or "pruned", None
        with contextlib.suppress(*LOST):
            values = self._last_value(lease.trial_id)
        return outcomes.pruned(lease, self._epoch(lease), reason, values, message)

    def _returned(self, lease: Lease, returned: Returned) -> Outcome:
        if returned.n_values is not None:
            self._stop_reason = returned.message
        if returned.values is None:
            return outcomes.failed(lease, self._epoch(lease), returned.reason, returned.message)
        return outcomes.complete(lease, self._epoch(lease), returned.values)

    def _last_value(self, trial_id: int) -> tuple[float, ...] | None:
        reported = self._context.search.reported(trial_id)
        last = reported[max(reported)] if reported else math.nan
        return None if math.isnan(last) else (last,)
