"""The loop of a worker: claim, run, settle, until nothing is left or it is told to stop."""

from __future__ import annotations

import logging
import threading
from typing import Literal, TypeAlias

from hpo.errors import StoreError
from hpo.run.outage import PARTING_S, Stopped
from hpo.run.post import Executor, Post, put_down
from hpo.store.ledger import Claim

logger = logging.getLogger(__name__)
End: TypeAlias = Literal["exhausted", "interrupted"]
POLL_S = 0.5
BEATS_PER_GRACE = 12


class Worker:
    """One process's share of a study.

    Args:
        post: The study, its ledger and its search.
        executor: What runs the trials.
    """

    def __init__(self, post: Post, executor: Executor) -> None:
        self._post = post
        self._executor = executor

    def run(self) -> End:
        """Works until the study has no more trials for it, or ``post.stop`` is set.

        An outage of the database is waited out, with training going on meanwhile.

        Raises:
            StoreError: The database fails in a way that no waiting mends.
        """
        try:
            end = self._work()
        except Stopped:
            end = "interrupted"
        self._executor.release()
        return end

    def _work(self) -> End:
        while not self._post.stop.is_set():
            if self._post.paused and self._executor.held:
                self._executor.release()
            claim = self._refill()
            if self._executor.held:
                self._executor.work()
            elif claim.exhausted:
                logger.info("no more trials: %s", claim.reason)
                return "exhausted"
            else:
                # Others hold the rest of the budget; one of them may die and leave its trial.
                self._post.patiently(lambda: self._post.ledger.reap(self._post.study.study_id))
                self._post.stop.wait(POLL_S)
        return "interrupted"

    def _refill(self) -> Claim:
        held = self._executor.held
        n_free = self._executor.capacity - len(held)
        if n_free == 0:
            return Claim(leases=(), exhausted=False, reason="full")
        post = self._post
        if held and post.line.is_down:
            # What is held trains on. A claim must wait until all outcomes are written: it would
            # hand the trials that have ended here out again.
            return Claim(leases=(), exhausted=False, reason="away")
        post.line.adopt()
        claim = post.patiently(
            lambda: post.ledger.claim(post.study.study_id, post.worker_id, n_free, held)
        )
        if claim.leases:
            # Only an active study gives trials out: what the last heartbeat told is over.
            post.ending, post.paused = "", False
        self._begin(claim)
        return claim

    def _begin(self, claim: Claim) -> None:
        waiting = list(claim.leases)
        try:
            while waiting:
                # Nobody has it any longer: an older lease of this trial may have been lost.
                self._post.lost.discard(waiting[0].trial_id)
                self._executor.begin(waiting[0])
                waiting.pop(0)
        except Stopped:
            self._post.line.settle([put_down(lease, lease.epoch) for lease in waiting])
            raise


class Heartbeat(threading.Thread):
    """Says at a steady pace that this worker lives, whatever its trials are busy with.

    During an outage it is silent: the line beats when it is up again.

    Args:
        post: Whose ``lost`` it fills with the trials that were taken over.
        executor: Whose trials it renews.
        interval_s: Seconds between two beats.
    """

    def __init__(self, post: Post, executor: Executor, interval_s: float) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._post = post
        self._executor = executor
        self._interval_s = interval_s
        self._ended = threading.Event()

    def run(self) -> None:
        """Beats until ``end``."""
        while not self._ended.wait(self._interval_s):
            if not self._post.line.is_down:
                self._beat()

    def end(self) -> None:
        """Stops the thread; one that the database holds up ends with the process."""
        self._ended.set()
        self.join(PARTING_S)

    def _beat(self) -> None:
        held = self._executor.held
        try:
            renewal = self._post.ledger.renew(self._post.worker_id)
        except StoreError as error:
            self._post.line.fail(error)
            return
        self._post.lost.update(held - renewal.held)
        # A worker that is gone has lost its trials; they go on elsewhere.
        self._post.ending = "" if renewal.ending == "gone" else renewal.ending
        self._post.paused = renewal.state == "paused"
