"""Worker context: the study, its ledger and search, and what a worker has learnt of its state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from hpo.run.files.artifacts import Artifacts
from hpo.run.link import trial_seeds
from hpo.run.link.database_client import DatabaseClient
from hpo.run.link.watchdog import Watchdog
from hpo.search.base.derived_seeds import mix
from hpo.search.optuna.study_search import Search
from hpo.store.db.database import Database
from hpo.store.ledger.leases import Lease
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import events
from hpo.store.rows.events import Event
from hpo.store.studies import confirmations
from hpo.store.studies.study_records import StudyRecord

if TYPE_CHECKING:
    # Brings torch, which an objective may do without.
    from hpo.search.model.portfolio import Portfolio


@dataclass
class WorkerContext:
    """All that the parts of one worker share.

    Attributes:
        client: Writes reports and outcomes, and makes calls, whether or not the database is there.
        stop: Set when the worker must release its trials and leave.
        ending: Why running trials end at their next epoch (``stopped``, ``deadline``,
            ``target``); empty while they continue.
        paused: Whether they are released at their next epoch, because the study is paused.
        trial_s: Seconds that one trial may train; None for any number.
        patience: Trials in a row that may be no better than the best before no more begin; None
            for any number.
        target: First objective's value that ends the study; None without one.
        portfolio: First points that were learnt from other studies; None for the usual ones.
        watchdog: Counts the time that trials spend in code that may never return.
        notify: Called with messages for the person who runs the study.
        model_metadata: Returns what the model's file of a trial, by its number and seed, holds
            beside the weights.
    """

    db: Database
    study: StudyRecord
    ledger: Ledger
    search: Search
    worker_id: int
    artifacts: Artifacts
    client: DatabaseClient
    stop: threading.Event = field(default_factory=threading.Event)
    ending: str = ""
    paused: bool = False
    trial_s: float | None = None
    patience: int | None = None
    target: float | None = None
    portfolio: Portfolio | None = None
    watchdog: Watchdog = field(default_factory=Watchdog)
    notify: Callable[[str], None] = lambda text: None
    model_metadata: Callable[[int, int], Mapping[str, Any]] | None = None
    _warned: set[str] = field(default_factory=set)
    _seeds: dict[int, int] = field(default_factory=dict)

    def reaches_target(self, value: float) -> bool:
        """Returns whether a value of the first objective reaches the target, as known here."""
        if self.target is None:
            return False
        up = self.study.spec.directions[0] == "maximize"
        return value >= self.target if up else value <= self.target

    @cached_property
    def is_confirmation(self) -> bool:
        """Whether the study trains trials of another one again, with seeds of its own."""

        def read() -> bool:
            with self.db.read() as conn:
                return confirmations.is_confirmation(conn, self.study.study_id)

        return self.client.call(read)

    def seed_of(self, lease: Lease) -> int:
        """Returns the seed of a trial, waiting out an outage where it has to be read."""
        study_seed, number = self.study.spec.seed, lease.number
        if not self.is_confirmation:
            return mix(study_seed, number)
        if number not in self._seeds:
            call = partial(trial_seeds.seed_of, self.db, study_seed, lease.study_id, number)
            self._seeds[number] = self.client.call(call)
        return self._seeds[number]

    def owned(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """Returns those of the leases that are in force, waiting out an outage."""
        ids = self.client.call(lambda: self.ledger.in_force(leases))
        return [lease for lease in leases if lease.trial_id in ids]

    def warn_once(self, kind: str, text: str, message: str | None = None) -> None:
        """Warns the person who runs the study, and records an event; both once.

        Args:
            kind: Of the event.
            text: The warning.
            message: Of the event; the warning where it is None.
        """
        if text in self._warned:
            return
        self._warned.add(text)
        self.notify(text)
        event = Event(self.study.study_id, kind, message or text, worker_id=self.worker_id)
        self.client.try_call(partial(events.record_once, self.db, event), None)

    def forget_warning(self, text: str) -> None:
        """Lets a warning be given again, because its cause was over in between."""
        self._warned.discard(text)
