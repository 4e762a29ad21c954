"""Worker loop: claims trials, runs and settles them, until none is left or it is told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hpo.errors import StoreError
from hpo.run.assignment.assigner import AWAY
from hpo.run.link.context import WorkerContext
from hpo.run.link.retry import STOP_GRACE_S, Stopped
from hpo.run.link.watchdog import hung
from hpo.run.trials.executor import Executor
from hpo.run.trials.outcomes import released, timed_out
from hpo.run.trials.search_errors import SearchFailed, searching, stop_study
from hpo.store.ledger.leases import Claim
from hpo.store.rows import stack_statistics
from hpo.store.studies import studies, study_endings

logger = logging.getLogger(__name__)
End: TypeAlias = Literal["exhausted", "interrupted"]


@dataclass(frozen=True)
class LoopSettings:
    """Settings of a worker's loop and its heartbeat.

    Attributes:
        poll_s: Seconds between two claims of a worker without trials, while others hold the rest
            of the budget. Source: judgement, short beside an epoch; not measured.
        n_looks: How often it looks meanwhile whether the study is done, which costs less than a
            claim. Source: judgement; not measured.
        beats_per_grace: Heartbeats within the silence after which a worker is taken for dead, so
            that a few may be late. Source: judgement; one in 5 s for the usual 60 s.
    """

    poll_s: float = 0.5
    n_looks: int = 5
    beats_per_grace: int = 12


class Worker:
    """One process's share of a study.

    Args:
        context: The study, its ledger and its search.
        executor: Runs the trials.
        ended: Called when a trial has ended here.
        begun: Called once, after the first epoch or trial here.
        settings: How often it looks for work.
    """

    def __init__(
        self,
        context: WorkerContext,
        executor: Executor,
        ended: Callable[[], None] = lambda: None,
        begun: Callable[[], None] = lambda: None,
        settings: LoopSettings = LoopSettings(),
    ) -> None:
        self._context = context
        self._executor = executor
        self._settings = settings
        self._ended = ended
        self._begun: Callable[[], None] | None = begun

    def run(self) -> End:
        """Works until the study has no more trials for it, or ``context.stop`` is set.

        The worker waits out an outage of the database, and trains meanwhile.

        Raises:
            StoreError: The database fails in a way that waiting does not help.
            SearchFailed: The sampler raises; the study is stopped.
        """
        try:
            end = self._work()
        except Stopped:
            end = "interrupted"
        except KeyboardInterrupt:
            # Raised by user code, it means the same as Ctrl-C.
            self._context.stop.set()
            end = "interrupted"
        except SearchFailed as failure:
            stop_study(self._context, failure)
            self._executor.release()
            raise
        self._executor.release()
        return end

    def _work(self) -> End:
        while not self._context.stop.is_set():
            if self._context.paused and self._executor.held:
                self._executor.release()
            claim = self._refill()
            while claim.leases and self._executor.wanted:
                # The first trial of a stack tells how many more it has room for.
                claim = self._refill()
            if self._executor.held:
                n_held = len(self._executor.held)
                self._executor.work()
                if self._begun is not None:
                    self._begun()
                    self._begun = None
                if len(self._executor.held) < n_held:
                    self._ended()
            elif claim.exhausted:
                logger.info("no more trials: %s", claim.reason)
                return "exhausted"
            else:
                # Other workers hold the rest of the budget. One may die, and leave its trials.
                self._context.client.call(
                    lambda: self._context.ledger.reap(self._context.study.study_id)
                )
                self._wait_for_others()
        return "interrupted"

    def _wait_for_others(self) -> None:
        """Waits a while, or until the study is done."""
        context, settings = self._context, self._settings
        for _ in range(settings.n_looks):
            if context.stop.wait(settings.poll_s / settings.n_looks):
                return
            if context.client.try_call(
                lambda: studies.is_done(context.db, context.study.study_id), False
            ):
                return

    def _refill(self) -> Claim:
        held, n_free = self._executor.held, self._executor.wanted
        if n_free == 0:
            return Claim(leases=(), exhausted=False, reason="full")
        context = self._context
        if held and context.client.is_down:
            # Lanes train on. A claim must wait until all outcomes are written: it would grant
            # trials again that have ended here.
            self._executor.continue_offline()
            return AWAY
        context.client.adopt()
        with searching(context):
            claim = self._executor.claim()
        if claim is AWAY:
            self._executor.continue_offline()
            return claim
        if claim.leases:
            # Only an active study grants leases: what the last heartbeat brought is out of date.
            context.ending, context.paused = "", False
        self._begin(claim)
        return claim

    def _begin(self, claim: Claim) -> None:
        # Older leases of these trials may have been lost; these ones are in force.
        self._context.client.lost.difference_update(lease.trial_id for lease in claim.leases)
        held = self._executor.held
        self._context.client.trial_log.begin(x for x in claim.leases if x.trial_id not in held)
        try:
            self._executor.begin(claim.leases)
        except (Stopped, SearchFailed):
            waiting = [x for x in claim.leases if x.trial_id not in self._executor.held]
            self._context.client.settle([released(lease, lease.epoch) for lease in waiting])
            raise


def note_usage(context: WorkerContext, executor: Executor) -> None:
    """Stores how full a worker's stacks are; does nothing while the database is away."""
    usage = executor.usage
    if usage is not None:
        context.client.try_call(
            lambda: stack_statistics.note(context.db, context.worker_id, usage), None
        )


class Heartbeat(threading.Thread):
    """Renews a worker's leases at a steady pace, whatever its trials do.

    During an outage it is silent: the database client sends a heartbeat when that is over. It also
    ends trials whose code does not return, which their own thread cannot.

    Args:
        context: The worker's. Trials that were taken over are entered in ``client.lost``.
        executor: Holds the trials.
        interval_s: Seconds between two heartbeats.
        abandon: Ends this process because its main thread hangs; takes the reason.
    """

    def __init__(
        self,
        context: WorkerContext,
        executor: Executor,
        interval_s: float,
        abandon: Callable[[str], None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._context = context
        self._executor = executor
        self._interval_s = interval_s
        self._abandon = abandon
        self._ended = threading.Event()

    def run(self) -> None:
        """Sends heartbeats until ``end``."""
        while not self._ended.wait(self._interval_s):
            if not self._context.client.is_down:
                try:
                    self.beat()
                except Exception:
                    # Without further heartbeats the worker would be taken for dead.
                    logger.exception("this heartbeat failed")

    def end(self) -> None:
        """Stops the thread; one that waits for the database ends with the process."""
        self._ended.set()
        self.join(STOP_GRACE_S)

    def beat(self) -> None:
        """Renews the leases, takes over changes of the study, and ends trials that hang."""
        held = self._executor.held
        try:
            renewal = self._context.ledger.renew(self._context.worker_id)
            if renewal.state == "active" and renewal.target != self._context.target:
                # A report may have come since it changed: see `LeasedTrial.report`.
                self._context.ledger.finish_if_reported(self._context.study.study_id)
        except StoreError as error:
            self._context.client.note_failure(error)
            return
        self._context.client.lost.update(held - renewal.held)
        # A worker that is gone has lost its trials; other workers resume them.
        # Trials of a study whose objective has called `study.stop` run to their end.
        runs_on = renewal.ending in ("gone", study_endings.BY_OBJECTIVE)
        self._context.ending = "" if runs_on else renewal.ending
        self._context.paused = renewal.state == "paused"
        if renewal.state != "gone":
            self._context.trial_s = renewal.trial_s
            self._context.patience = renewal.patience
            self._context.target = renewal.target
            note_usage(self._context, self._executor)
        self._end_hung()

    def _end_hung(self) -> None:
        """Settles the trials whose code has not returned in time, and ends the process."""
        context = self._context
        leases = context.watchdog.overdue(context.trial_s)
        if not leases or context.trial_s is None:
            return
        message = hung(context.watchdog.seconds, context.trial_s)
        try:
            lost = context.client.settle(
                [timed_out(lease, lease.epoch, message) for lease in leases]
            )
        except StoreError as error:
            context.client.note_failure(error)
            return
        # The code may have returned just now, and its thread have settled the trial.
        if len(lost) < len(leases):
            for lease in leases:
                context.artifacts.drop(context.artifacts.checkpoint(lease.number))
            self._abandon(f"trial {leases[0].number}: {message}")
