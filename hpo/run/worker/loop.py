"""The loop of a worker: claim, run, settle, until nothing is left or it is told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
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
POLL_S = 0.5
_LOOKS = 5
BEATS_PER_GRACE = 12


class Worker:
    """One process's share of a study.

    Args:
        context: The study, its ledger and its search.
        executor: What runs the trials.
        ended: Called when a trial has ended here.
        begun: Called once, after the first epoch or trial here.
    """

    def __init__(
        self,
        context: WorkerContext,
        executor: Executor,
        ended: Callable[[], None] = lambda: None,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._executor = executor
        self._ended = ended
        self._begun: Callable[[], None] | None = begun

    def run(self) -> End:
        """Works until the study has no more trials for it, or ``context.stop`` is set.

        An outage of the database is waited out, with training going on meanwhile.

        Raises:
            StoreError: The database fails in a way that no waiting mends.
            SearchFailed: The sampler raises; the study is stopped.
        """
        try:
            end = self._work()
        except Stopped:
            end = "interrupted"
        except KeyboardInterrupt:
            # User code means what Ctrl-C means.
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
                # Others hold the rest of the budget; one of them may die and leave its trial.
                self._context.client.call(
                    lambda: self._context.ledger.reap(self._context.study.study_id)
                )
                self._wait_for_others()
        return "interrupted"

    def _wait_for_others(self) -> None:
        """Waits a while; that the others are through is noticed sooner."""
        context = self._context
        for _ in range(_LOOKS):
            if context.stop.wait(POLL_S / _LOOKS):
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
            # What is held trains on. A claim must wait until all outcomes are written: it would
            # hand the trials that have ended here out again.
            self._executor.continue_offline()
            return AWAY
        context.client.adopt()
        with searching(context):
            claim = self._executor.claim()
        if claim is AWAY:
            self._executor.continue_offline()
            return claim
        if claim.leases:
            # Only an active study gives trials out: what the last heartbeat told is over.
            context.ending, context.paused = "", False
        self._begin(claim)
        return claim

    def _begin(self, claim: Claim) -> None:
        # Nobody has them any longer: older leases of these trials may have been lost.
        self._context.client.lost.difference_update(lease.trial_id for lease in claim.leases)
        try:
            self._executor.begin(claim.leases)
        except (Stopped, SearchFailed):
            waiting = [x for x in claim.leases if x.trial_id not in self._executor.held]
            self._context.client.settle([released(lease, lease.epoch) for lease in waiting])
            raise


def note_usage(context: WorkerContext, executor: Executor) -> None:
    """Writes down how full a worker's stacks are; it is no harm where that fails."""
    usage = executor.usage
    if usage is not None:
        context.client.try_call(
            lambda: stack_statistics.note(context.db, context.worker_id, usage), None
        )


class Heartbeat(threading.Thread):
    """Says at a steady pace that this worker lives, whatever its trials are busy with.

    During an outage it is silent: the line beats when it is up again. It also ends trials whose
    code does not come back, which their own thread cannot.

    Args:
        context: Whose ``lost`` it fills with the trials that were taken over.
        executor: Whose trials it renews.
        interval_s: Seconds between two beats.
        abandon: Ends this process, for its main thread hangs; takes why.
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
        """Beats until ``end``."""
        while not self._ended.wait(self._interval_s):
            if not self._context.client.is_down:
                try:
                    self.beat()
                except Exception:
                    # A worker whose heart has stopped would be taken for dead while it trains.
                    logger.exception("this heartbeat failed")

    def end(self) -> None:
        """Stops the thread; one that the database holds up ends with the process."""
        self._ended.set()
        self.join(STOP_GRACE_S)

    def beat(self) -> None:
        """Renews the leases, learns what was ordered, and ends trials that hang."""
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
        # A worker that is gone has lost its trials; they go on elsewhere.
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
        """Settles the trials whose code has not come back in time, and leaves with them."""
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
        # It may have come back in this moment, and settled the trial itself.
        if len(lost) < len(leases):
            for lease in leases:
                context.artifacts.drop(context.artifacts.checkpoint(lease.number))
            self._abandon(f"trial {leases[0].number}: {message}")
