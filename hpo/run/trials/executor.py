"""Executor: runs the trials that a worker has claimed, a task's on an engine or an objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hpo.store.ledger.leases import Claim, Lease
from hpo.store.rows.stack_statistics import Usage


class Executor(Protocol):
    """Runs trials under the loop of a worker: claim, begin, work, and at the end release.

    An executor settles the outcomes of its trials itself. ``hpo.testing.executors`` tests one.
    """

    @property
    def usage(self) -> Usage | None:
        """How full its stacks are, and were; None where there are none."""

    @property
    def wanted(self) -> int:
        """How many trials to claim now."""

    @property
    def held(self) -> frozenset[int]:
        """Ids of the trials that it runs now."""

    def claim(self) -> Claim:
        """Claims as many trials as it has room for; lanes at their stop may be among them.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """

    def continue_offline(self) -> None:
        """Continues the trials that it holds without a claim, for the database is away."""

    def begin(self, leases: Sequence[Lease]) -> None:
        """Begins the trials of a claim, and pauses those that it holds and were not granted more.

        Raises:
            Stopped: The worker was told to leave, and the database is away; trials that are not
                held were not begun.
        """

    def work(self) -> None:
        """Trains every trial that it holds, for one epoch or to the end, and reports."""

    def release(self) -> None:
        """Releases every trial so that it can be resumed, here or elsewhere."""
