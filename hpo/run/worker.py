"""The loop of a worker: claim, run, settle, until nothing is left or it is told to stop."""

from __future__ import annotations

import logging
import threading
from typing import Literal, TypeAlias

from hpo.run.post import Executor, Post
from hpo.store.ledger import Claim

logger = logging.getLogger(__name__)
End: TypeAlias = Literal["exhausted", "interrupted"]
POLL_S = 0.5
HEARTBEAT_S = 5.0


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
        """Works until the study has no more trials for it, or ``post.stop`` is set."""
        while not self._post.stop.is_set():
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
        self._executor.release()
        return "interrupted"

    def _refill(self) -> Claim:
        held = self._executor.held
        n_free = self._executor.capacity - len(held)
        if n_free == 0:
            return Claim(leases=(), exhausted=False, reason="full")
        post = self._post
        claim = post.patiently(
            lambda: post.ledger.claim(post.study.study_id, post.worker_id, n_free, held)
        )
        for lease in claim.leases:
            self._executor.begin(lease)
        return claim


class Heartbeat(threading.Thread):
    """Says at a steady pace that this worker lives, whatever its trials are busy with.

    Args:
        post: Whose ``lost`` it fills with the trials that were taken over.
        parent_alive: Tells whether the process that started this worker still lives; when it
            does not, the worker stops as if it had been told to.
        executor: Whose trials it renews.
    """

    def __init__(self, post: Post, executor: Executor, interval_s: float = HEARTBEAT_S) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._post = post
        self._executor = executor
        self._interval_s = interval_s
        self._ended = threading.Event()

    def run(self) -> None:
        """Beats until ``end``; an outage is waited out."""
        while not self._ended.wait(self._interval_s):
            held = self._executor.held
            try:
                renewal = self._post.ledger.renew(self._post.worker_id)
            except Exception as error:
                if not self._post.db.is_outage(error):
                    raise
                logger.warning("no heartbeat: %s", error)
            else:
                self._post.lost |= held - renewal.held
                # A worker that is gone has lost its trials; they go on elsewhere.
                self._post.ending = "" if renewal.ending == "gone" else renewal.ending

    def end(self) -> None:
        """Stops the thread."""
        self._ended.set()
        self.join()
