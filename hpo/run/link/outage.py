"""Outage of the database: how long it lasts, and the records that a worker keeps meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpo.store.ledger.outbox import Outbox, Record
from hpo.store.rows.events import Event

logger = logging.getLogger(__name__)


@dataclass
class Outage:
    """An outage that has not ended.

    Attributes:
        reason: The last that was reported of it.
        n_replayed: Records written since the database is back.
        is_recorded: Whether its event is written.
        began_s: By the monotonic clock.
    """

    reason: str
    n_replayed: int = 0
    is_recorded: bool = False
    began_s: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """The duration of the outage so far."""
        return time.monotonic() - self.began_s

    def event(self, study_id: int, worker_id: int) -> Event:
        """Returns the event that records it."""
        text = f"the database was away for {self.seconds:.1f} s; wrote {self.n_replayed} records"
        return Event(study_id, "outage", f"{text} that were kept", worker_id=worker_id)


class Backlog:
    """Records kept in memory and in the outbox, in order; its user guards it by a lock.

    Args:
        folder: Of the study's outboxes.
        worker_id: The worker.
    """

    def __init__(self, folder: Path, worker_id: int) -> None:
        self.folder = folder
        self._outbox = Outbox(folder, worker_id)
        self._records: list[Record] = []
        self._not_on_disk: list[Record] = []

    @property
    def records(self) -> list[Record]:
        """Returns a copy of what is kept."""
        return list(self._records)

    def keep(self, records: Sequence[Record]) -> None:
        """Adds records; in memory alone while the disk takes no files."""
        self._records += records
        self._not_on_disk += records
        try:
            self._outbox.append(self._not_on_disk)
        except OSError as error:
            if len(self._not_on_disk) == len(records):
                logger.warning("%s cannot be written (%s); kept in memory", self.folder, error)
        else:
            self._not_on_disk.clear()

    def drop(self, n: int) -> None:
        """Drops the first records, which the database has."""
        del self._records[:n]

    def clear(self) -> bool:
        """Removes the outbox, if no record is left; returns whether none was."""
        if self._records:
            return False
        self._not_on_disk.clear()
        self._outbox.remove()
        return True
