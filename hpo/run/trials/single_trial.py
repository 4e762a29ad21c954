"""Single-trial executor: what executors have in common that run one trial at a time."""

from __future__ import annotations

from hpo.run.assignment.assigner import Assigner
from hpo.run.link.context import WorkerContext
from hpo.run.trials import outcomes
from hpo.run.trials.executor import Executor
from hpo.run.trials.search_errors import SearchFailed, before_finish
from hpo.store.ledger.leases import Claim, Lease, Outcome


class SingleTrialExecutor(Executor):
    """Claims and settles one trial at a time.

    A trial that asks for more epochs may be paused for another one, whose lease comes with the
    answer: that one is next.

    Args:
        context: The study, its ledger and its search.
        assigner: Claims trials.
    """

    def __init__(self, context: WorkerContext, assigner: Assigner) -> None:
        self._context = context
        self._assigner = assigner
        self._next_claim: Claim | None = None

    @property
    def usage(self) -> None:
        """None: there are no stacks."""

    @property
    def wanted(self) -> int:
        """1 if there is room for a trial, else 0."""
        if self.held:
            return 0
        return 1 if self._next_claim is not None else self._assigner.wanted(1, 0)

    def claim(self) -> Claim:
        """Claims a trial, or returns the one that was granted when another one was paused.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """
        claim, self._next_claim = self._next_claim, None
        return claim or self._assigner.claim(self.wanted, self.held)

    def continue_offline(self) -> None:
        """Does nothing: a loop of the user's trains on, and asks at its stop."""

    def _settle(self, lease: Lease, outcome: Outcome) -> SearchFailed | None:
        """Settles a trial; returns the error of a sampler that has raised, to be raised later."""
        failure = None
        if outcome.state in outcomes.STATES:
            end = (lease, outcomes.STATES[outcome.state], outcome.values)
            failure = before_finish(self._context, [end])
        self._context.client.settle([outcome])
        return failure

    def _release_granted(self, claim: Claim | None) -> None:
        """Releases trials that were granted and have not begun."""
        if claim is not None:
            released = [outcomes.released(lease, lease.epoch) for lease in claim.leases]
            self._context.client.settle(released)
