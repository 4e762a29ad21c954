"""What a worker has at hand, and what runs its trials."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from hpo.run.artifacts import Artifacts
from hpo.run.outage import through_outage
from hpo.search.search import Search
from hpo.store.database import Database
from hpo.store.ledger import Lease, Ledger
from hpo.store.studies import StudyRecord

T = TypeVar("T")


@dataclass
class Post:
    """The place of a worker in its study.

    Attributes:
        stop: Set when the worker shall put its trials down and leave.
        lost: Trials whose lease another worker has taken over, as the heartbeat learnt.
        ending: Why running trials shall end at their next epoch (``stopped``, ``deadline``,
            ``target``); empty while they shall go on.
    """

    db: Database
    study: StudyRecord
    ledger: Ledger
    search: Search
    worker_id: int
    artifacts: Artifacts
    stop: threading.Event = field(default_factory=threading.Event)
    lost: set[int] = field(default_factory=set)
    ending: str = ""

    def patiently(self, call: Callable[[], T]) -> T:
        """Makes a call to the database, waiting out an outage."""
        return through_outage(self.db, call, self.stop)


class Executor(Protocol):
    """Runs trials that were claimed: a task's on an engine, or an Optuna objective."""

    capacity: int

    @property
    def held(self) -> frozenset[int]:
        """Ids of the trials that it runs now."""

    def begin(self, lease: Lease) -> None:
        """Takes a trial on."""

    def work(self) -> None:
        """Goes on with every trial that it holds, by one epoch or to the end, and reports."""

    def release(self) -> None:
        """Puts every trial down so that it can be continued, here or elsewhere."""
