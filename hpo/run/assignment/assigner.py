"""Assigner: claims trials for a worker, and gives them their params."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from hpo.spec.space.params import Params
from hpo.store.ledger.leases import Claim, Lease

AWAY: Final = Claim(leases=(), exhausted=False, reason="away")
"""The answer to a claim that a worker with trials makes while the database is away."""


class Assigner(Protocol):
    """Claims trials for one worker, and gives them their params.

    Attributes:
        pauses: Whether trials are paused on the way, to be resumed later or never.
    """

    pauses: bool

    def wanted(self, n_free: int, n_held: int) -> int:
        """Returns how many trials to claim next.

        Args:
            n_free: How many more there is room for.
            n_held: How many there are.
        """

    def claim(self, n: int, held: Collection[int], at_stop: Sequence[Lease] = ()) -> Claim:
        """Claims trials. A claim whose answer was lost is granted again by the next one.

        Args:
            n: How many, including those in ``at_stop`` that are resumed.
            held: Ids of the trials that the worker has.
            at_stop: Leases of those that have come as far as they should.

        Returns:
            The ledger's answer; `AWAY` while the database is away, if the worker has trials that
            it can train meanwhile.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """

    def params(self, leases: Sequence[Lease]) -> list[Params]:
        """Returns the params of trials that were claimed, and draws those that they lack."""

    def to_pause(self, values: Mapping[int, tuple[Lease, float]]) -> set[int]:
        """Returns which of the trials that have come as far as they should are not complete.

        Args:
            values: By trial_id the lease, and the objective after its ``epoch_stop``.
        """
