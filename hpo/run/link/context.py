"""What a worker has at hand, and what runs its trials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hpo.run.files.artifacts import Artifacts
from hpo.run.link.database_client import DatabaseClient
from hpo.run.link.watchdog import Watchdog
from hpo.search.optuna.study_search import Search
from hpo.store.db.database import Database
from hpo.store.ledger.leases import Claim, Lease, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import events
from hpo.store.rows.events import Event
from hpo.store.rows.stack_statistics import Usage
from hpo.store.studies.studies import StudyRecord

if TYPE_CHECKING:
    # Brings torch, which an objective may do without.
    from hpo.search.model.portfolio import Portfolio

T = TypeVar("T")
D = TypeVar("D")


@dataclass
class WorkerContext:
    """The place of a worker in its study.

    Attributes:
        line: Through which reports and outcomes are written, whether the database is there or
            away.
        stop: Set when the worker shall put its trials down and leave.
        ending: Why running trials shall end at their next epoch (``stopped``, ``deadline``,
            ``target``); empty while they shall go on.
        paused: Whether they shall be put down at their next epoch, for the study is paused.
        trial_s: Seconds that one trial may train; None for any number.
        patience: Trials in a row that may be no better than the best before no more begin; None
            for any number.
        target: First objective's value that ends the study; None without one.
        portfolio: First points that were learnt from other studies; None for the usual ones.
        watch: Counts the time that trials spend in code that may never return.
        tell: Called with what the person who runs the study should read.
        about: Returns what the model's file of a trial, by its number, says beside the weights.
    """

    db: Database
    study: StudyRecord
    ledger: Ledger
    search: Search
    worker_id: int
    artifacts: Artifacts
    line: DatabaseClient
    stop: threading.Event = field(default_factory=threading.Event)
    ending: str = ""
    paused: bool = False
    trial_s: float | None = None
    patience: int | None = None
    target: float | None = None
    portfolio: Portfolio | None = None
    watch: Watchdog = field(default_factory=Watchdog)
    tell: Callable[[str], None] = lambda text: None
    about: Callable[[int], Mapping[str, Any]] | None = None
    _told: set[str] = field(default_factory=set)

    @property
    def lost(self) -> set[int]:
        """Trials whose lease another worker has taken over, as this one has learnt."""
        return self.line.lost

    def reaches_target(self, value: float) -> bool:
        """Tells whether a value of the first objective ends the study, as far as is known here."""
        if self.target is None:
            return False
        up = self.study.spec.directions[0] == "maximize"
        return value >= self.target if up else value <= self.target

    def patiently(self, call: Callable[[], T]) -> T:
        """Makes a call to the database, waiting out an outage; see `DatabaseClient.patiently`."""
        return self.line.patiently(call)

    def owned(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Returns those of the leases that are in force, waiting out an outage."""
        ids = self.patiently(lambda: self.ledger.in_force(leases))
        return [lease for lease in leases if lease.trial_id in ids]

    def warn_once(self, kind: str, text: str, message: str | None = None) -> None:
        """Says something to whoever runs the study, and records it as an event; both once.

        Args:
            kind: Of the event.
            text: What is said.
            message: Of the event; the text where it is None.
        """
        if text in self._told:
            return
        self._told.add(text)
        self.tell(text)
        event = Event(self.study.study_id, kind, message or text, worker_id=self.worker_id)
        self.line.ask(partial(events.record_once, self.db, event), None)

    def forget_warning(self, text: str) -> None:
        """Lets a warning be given again: what it told of was over in between."""
        self._told.discard(text)

    def soon(self, call: Callable[[], T], otherwise: D, *, waits: bool) -> T | D:
        """Makes a call for whoever may have something better to do than to wait out an outage.

        Args:
            call: Safe to repeat.
            otherwise: The answer while the database is away.
            waits: Whether to wait for it all the same.
        """
        return self.patiently(call) if waits else self.line.ask(call, otherwise)


def put_down(lease: Lease, epoch: int, checkpoint: str | None = None) -> Outcome:
    """Returns the outcome of a trial that somebody shall go on with."""
    return Outcome(
        trial_id=lease.trial_id,
        token=lease.token,
        state="released",
        reason="interrupted",
        checkpoint=checkpoint,
        epoch=epoch,
    )


def timed_out(lease: Lease, epoch: int, message: str) -> Outcome:
    """Returns the outcome of a trial that took longer than it may."""
    return Outcome(
        trial_id=lease.trial_id,
        token=lease.token,
        state="failed",
        reason="timeout",
        message=message,
        epoch=epoch,
    )


class Executor(Protocol):
    """Runs trials that were claimed: a task's on an engine, or an Optuna objective."""

    @property
    def usage(self) -> Usage | None:
        """How full its stacks are, and were; None where there are none."""

    @property
    def wanted(self) -> int:
        """How many more trials it has room for now."""

    @property
    def held(self) -> frozenset[int]:
        """Ids of the trials that it runs now."""

    def claim(self) -> Claim:
        """Takes as many trials as it has room for, and decides which that it has shall go on.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """

    def go_on(self) -> None:
        """Goes on with what it has, for nobody can be asked now."""

    def begin(self, leases: Sequence[Lease]) -> None:
        """Takes trials on that ``claim`` has brought, and puts aside what shall not go on.

        Raises:
            Stopped: The worker was told to leave, and the database is away; those that are not
                held were not taken on.
        """

    def work(self) -> None:
        """Goes on with every trial that it holds, by one epoch or to the end, and reports."""

    def release(self) -> None:
        """Puts every trial down so that it can be continued, here or elsewhere."""
