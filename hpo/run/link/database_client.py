"""Database client: a worker's calls to its database, with write-behind while that is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from hpo.errors import StoreError
from hpo.run.link.outage import Backlog, Outage
from hpo.run.link.retry import (
    DATABASE_ERRORS,
    Stopped,
    backoff,
    call_with_deadline,
    retry_while_crowded,
    unwrapped,
)
from hpo.run.link.trial_log import TrialLog
from hpo.store.db.database import Database
from hpo.store.ledger import outbox
from hpo.store.ledger.leases import EpochRow, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import events
from hpo.store.rows.events import Event

logger = logging.getLogger(__name__)
T = TypeVar("T")
D = TypeVar("D")
R = TypeVar("R", EpochRow, Outcome)
DEADLINE_S = 5.0
"""How long training waits for the database: then a report is kept, and a call has its default."""

_POLL_S = 0.1


class DatabaseClient:
    """Writes a worker's records in order, at once or after an outage, and makes its calls.

    During an outage, records go to the outbox, and one thread tries with growing pauses to reach
    the database again. When it answers, that thread writes the kept records in their order; only
    then has the outage ended.

    A server that has no connection free is no outage: it works, and gives one when others leave.
    Records wait for that, and so does the worker.

    Args:
        db: The database.
        ledger: Its ledger.
        study_id: The study.
        worker_id: The worker.
        stop: Set when the worker must leave: then calls wait for the database no longer.
        notify_outage: Called with the reason when an outage begins, and with an empty text when it
            has ended; must not wait.
        notify_report: Called after each report; must not wait.

    Attributes:
        lost: Trials whose lease another worker has taken over, as far as this worker knows.
        trial_log: Where the worker's own log says which trials it holds.
    """

    def __init__(
        self,
        db: Database,
        ledger: Ledger,
        study_id: int,
        worker_id: int,
        stop: threading.Event,
        notify_outage: Callable[[str], None] = lambda reason: None,
        notify_report: Callable[[], None] = lambda: None,
    ) -> None:
        self.lost: set[int] = set()
        self.trial_log = TrialLog()
        self._db = db
        self._ledger = ledger
        self._study_id = study_id
        self._worker_id = worker_id
        self._stop = stop
        self._notify_outage = notify_outage
        self._notify_report = notify_report
        self._backlog = Backlog(outbox.folder_of(db.url, study_id), worker_id)
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._up.set()
        self._outage: Outage | None = None
        self._fatal_error: BaseException | None = None

    @property
    def is_down(self) -> bool:
        """Whether the database is away, or kept records are not written yet."""
        return self._outage is not None

    def report(self, rows: Sequence[EpochRow]) -> set[int]:
        """Writes epochs now or after the outage; see `Ledger.report`.

        Raises:
            StoreError: Waiting does not help; the rows are in the outbox.
        """
        lost = self._write(rows, self._ledger.report)
        self._notify_report()
        return lost

    def settle(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Writes outcomes now or after the outage; see `Ledger.settle`.

        Raises:
            StoreError: Waiting does not help; the outcomes are in the outbox.
        """
        self.trial_log.end(outcomes)
        return self._write(outcomes, self._ledger.settle)

    def try_call(self, call: Callable[[], T], default: D) -> T | D:
        """Makes a call whose answer training can do without.

        Args:
            call: Safe to repeat.
            default: The answer during an outage, and when the call takes longer than a report may.

        Raises:
            StoreError: Waiting does not help.
        """
        if self.is_down:
            return default
        try:
            return call_with_deadline(call, self._stop, DEADLINE_S)
        except TimeoutError:
            # Perhaps a slow pruner. The next report finds out whether the database is away.
            return default
        except DATABASE_ERRORS as error:
            if self._db.is_crowded(error):
                return default
            self.note_failure(error)
            self.require_usable()
            return default

    def call(self, call: Callable[[], T]) -> T:
        """Makes a call that the worker needs the answer of, waiting out an outage.

        Args:
            call: Safe to repeat.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
            StoreError: Waiting does not help.
        """
        while True:
            self._wait()
            try:
                return retry_while_crowded(self._db, call, self._stop, self._notify_outage)
            except TimeoutError as error:
                raise Stopped from error
            except DATABASE_ERRORS as error:
                self.note_failure(error)

    def adopt(self) -> None:
        """Writes what dead workers of this machine left; call it before they are reaped.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
            StoreError: Waiting does not help.
        """
        if outbox.files_in(self._backlog.folder):
            self.call(lambda: outbox.adopt(self._db, self._study_id))

    def require_usable(self) -> None:
        """Makes sure that the database has not failed in a way that waiting does not help.

        Raises:
            StoreError: It has.
        """
        if self._fatal_error is not None:
            raise self._fatal_error

    def note_failure(self, error: BaseException) -> None:
        """Notes that a call has failed: an outage begins, or the database is unusable.

        Not where only a connection was wanted, unless the worker is leaving: then its records are
        kept, because it does not wait any longer.
        """
        if self._db.is_crowded(error) and not self._stop.is_set():
            return
        with self._lock:
            self._begin_outage(error)

    def _write(self, records: Sequence[R], verb: Callable[[Sequence[R]], set[int]]) -> set[int]:
        self.require_usable()
        with self._lock:
            if self._outage is not None:
                self._backlog.keep(records)
                return set()
        try:
            return retry_while_crowded(
                self._db, partial(verb, records), self._stop, self._notify_outage, DEADLINE_S
            )
        except (StoreError, TimeoutError) as error:
            with self._lock:
                self._backlog.keep(records)
                self._begin_outage(error)
            self.require_usable()
            return set()

    def _begin_outage(self, error: BaseException) -> None:
        """Begins an outage, unless one has begun or waiting does not help."""
        if self._fatal_error is not None:
            return
        if not isinstance(error, TimeoutError) and not self._db.is_outage(error):
            self._give_up(unwrapped(error))
        elif self._outage is None:
            logger.warning(
                "the database is away (%s); records are kept in %s", error, self._backlog.folder
            )
            self._outage = Outage(str(unwrapped(error)))
            self._up.clear()
            # A session may hang, or have begun when the server was read-only.
            self._db.drop_sessions()
            self._notify_outage(self._outage.reason)
            threading.Thread(target=self._reconnect, name="reconnect", daemon=True).start()

    def _give_up(self, error: BaseException) -> None:
        self._fatal_error = error
        # Calls that wait must learn of it.
        self._up.set()

    def _wait(self) -> None:
        while not self._up.wait(_POLL_S):
            if self._stop.is_set():
                raise Stopped
        self.require_usable()

    def _reconnect(self) -> None:
        """Tries until the database answers, and writes the kept records."""
        for pause_s in backoff():
            time.sleep(pause_s)
            try:
                renewal = self._ledger.renew(self._worker_id)
                self._replay(is_registered=renewal.state != "gone")
            except Exception as error:  # noqa: BLE001 - raised by the next use of the client
                if self._db.is_outage(error):
                    self._notify_if_new(error)
                    continue
                with self._lock:
                    self._give_up(error)
            return

    def _notify_if_new(self, error: BaseException) -> None:
        """Reports a reason that differs: a database that is back may be read-only, or full."""
        outage, reason = self._outage, str(unwrapped(error))
        logger.debug("still away: %s", reason)
        if outage is not None and outage.reason != reason:
            outage.reason = reason
            self._notify_outage(reason)

    def _replay(self, *, is_registered: bool) -> None:
        outage = self._outage
        assert outage is not None
        while True:
            with self._lock:
                kept = self._backlog.records
            for batch in outbox.batches(kept):
                self.lost |= outbox.write(self._ledger, batch)
                outage.n_replayed += len(batch)
                with self._lock:
                    self._backlog.drop(len(batch))
            if is_registered and not outage.is_recorded:
                self._record(outage.event(self._study_id, self._worker_id))
                outage.is_recorded = True
            if self._end_outage(outage):
                return

    def _record(self, event: Event) -> None:
        self._db.transaction(lambda conn: events.record(conn, [event], self._db.now(conn)))

    def _end_outage(self, outage: Outage) -> bool:
        with self._lock:
            if not self._backlog.clear():
                return False
            # Logged before the worker continues, because it might end this process.
            logger.info(
                "the database is back after %.1f s; wrote %d records that were kept",
                outage.seconds,
                outage.n_replayed,
            )
            self._outage = None
            self._up.set()
            self._notify_outage("")
        return True
