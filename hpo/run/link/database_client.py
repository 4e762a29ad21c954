"""A worker's line to its database, through which training goes on while the database is away."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hpo.errors import StoreError
from hpo.run.link.retry import DATABASE_ERRORS, Stopped, aside, connected, pauses, plain
from hpo.store.db.database import Database
from hpo.store.ledger import outbox
from hpo.store.ledger.leases import EpochRow, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.ledger.outbox import Outbox, Record
from hpo.store.rows import events
from hpo.store.rows.events import Event

logger = logging.getLogger(__name__)
T = TypeVar("T")
D = TypeVar("D")
R = TypeVar("R", EpochRow, Outcome)
DEADLINE_S = 5.0
"""How long training waits for the database: then a report is spooled, a question left open."""

_LOOK_S = 0.1


@dataclass
class _Outage:
    """An outage that has not ended.

    Attributes:
        began_s: By the monotonic clock.
        why: What was told of it last.
        n_replayed: Records written since the database is back.
        is_told: Its event is recorded.
    """

    began_s: float
    why: str = ""
    n_replayed: int = 0
    is_told: bool = False

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self.began_s


class DatabaseClient:
    """What a worker writes, in order, each at once or after the outage; and what it asks.

    While the database is away, what is handed in goes to the spool, and one thread tries with
    growing pauses to reach the database again. When it answers, that thread writes the spool's
    records in their order; only then is the line up again.

    A server that has no connection free is no outage: it works, and gives one when others leave.
    What is to be written waits for that, and so does the worker.

    Args:
        db: The database.
        ledger: Its ledger.
        study_id: The study.
        worker_id: The worker.
        stop: Set when the worker shall leave: nobody waits for the database any longer.
        tell: Called with why the database cannot be used when an outage begins, and with an empty
            text when it has ended; must not wait.

    Attributes:
        lost: Trials whose lease another worker has taken over, as anybody here has learnt.
    """

    def __init__(
        self,
        db: Database,
        ledger: Ledger,
        study_id: int,
        worker_id: int,
        stop: threading.Event,
        tell: Callable[[str], None] = lambda why: None,
    ) -> None:
        self.lost: set[int] = set()
        self._db = db
        self._ledger = ledger
        self._study_id = study_id
        self._worker_id = worker_id
        self._stop = stop
        self._tell_of = tell
        self._folder = outbox.folder_of(db.url, study_id)
        self._spool = Outbox(self._folder, worker_id)
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._up.set()
        self._backlog: list[Record] = []
        self._not_on_disk: list[Record] = []
        self._outage: _Outage | None = None
        self._broken: BaseException | None = None

    @property
    def is_down(self) -> bool:
        """Whether the database is away, or something is not written yet."""
        return self._outage is not None

    def report(self, rows: Sequence[EpochRow]) -> set[int]:
        """Writes epochs now or after the outage; see `Ledger.report`.

        Raises:
            StoreError: No waiting mends this; the rows are in the spool.
        """
        return self._write(rows, self._ledger.report)

    def settle(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Writes outcomes now or after the outage; see `Ledger.settle`.

        Raises:
            StoreError: No waiting mends this; the outcomes are in the spool.
        """
        return self._write(outcomes, self._ledger.settle)

    def ask(self, call: Callable[[], T], otherwise: D) -> T | D:
        """Makes a call that training can do without.

        Returns:
            Its answer; ``otherwise`` during an outage, and when it takes longer than a report may.

        Raises:
            StoreError: No waiting mends this.
        """
        if self.is_down:
            return otherwise
        try:
            return aside(call, self._stop, DEADLINE_S)
        except TimeoutError:
            # Perhaps a slow pruner: whether the database is away, the next report will tell.
            return otherwise
        except DATABASE_ERRORS as error:
            if self._db.is_crowded(error):
                return otherwise
            self.fail(error)
            self.require_whole()
            return otherwise

    def patiently(self, call: Callable[[], T]) -> T:
        """Makes a call that there is no going on without, waiting out an outage.

        Args:
            call: Safe to repeat.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
            StoreError: No waiting mends this.
        """
        while True:
            self._wait()
            try:
                return self._connected(call)
            except TimeoutError as error:
                raise Stopped from error
            except DATABASE_ERRORS as error:
                self.fail(error)

    def adopt(self) -> None:
        """Writes what dead workers of this machine left; call it before the dead are reaped.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
            StoreError: No waiting mends this.
        """
        if outbox.spools_in(self._folder):
            self.patiently(lambda: outbox.adopt(self._db, self._study_id))

    def require_whole(self) -> None:
        """Makes sure that the database has not failed in a way that no waiting mends.

        Raises:
            StoreError: It has.
        """
        if self._broken is not None:
            raise self._broken

    def fail(self, error: BaseException) -> None:
        """Notes that a call has failed: an outage begins, or the line is broken for good.

        Not where only a connection was wanted, unless the worker is leaving: then what it has to
        say is kept, for nobody waits any longer.
        """
        if self._db.is_crowded(error) and not self._stop.is_set():
            return
        with self._lock:
            self._judge(error)

    def _write(self, records: Sequence[R], verb: Callable[[Sequence[R]], set[int]]) -> set[int]:
        self.require_whole()
        with self._lock:
            if self._outage is not None:
                self._keep(records)
                return set()
        try:
            return self._connected(lambda: verb(records), DEADLINE_S)
        except (StoreError, TimeoutError) as error:
            with self._lock:
                self._keep(records)
                self._judge(error)
            self.require_whole()
            return set()

    def _connected(self, call: Callable[[], T], deadline_s: float = math.inf) -> T:
        return connected(self._db, call, self._stop, self._tell_of, deadline_s)

    def _keep(self, records: Sequence[Record]) -> None:
        self._backlog += records
        self._not_on_disk += records
        try:
            self._spool.append(self._not_on_disk)
        except OSError as error:
            if len(self._not_on_disk) == len(records):
                logger.warning("%s cannot be written (%s); kept in memory", self._folder, error)
        else:
            self._not_on_disk.clear()

    def _judge(self, error: BaseException) -> None:
        if self._broken is not None:
            return
        if not isinstance(error, TimeoutError) and not self._db.is_outage(error):
            self._break(plain(error))
        elif self._outage is None:
            logger.warning(
                "the database is away (%s); what is to be written is kept in %s",
                error,
                self._folder,
            )
            self._outage = _Outage(time.monotonic(), str(plain(error)))
            self._up.clear()
            # A session may hang, or have begun when the server was read-only.
            self._db.drop_sessions()
            self._tell_of(self._outage.why)
            threading.Thread(target=self._mend, name="mender", daemon=True).start()

    def _break(self, error: BaseException) -> None:
        self._broken = error
        # Whoever waits shall learn of it.
        self._up.set()

    def _wait(self) -> None:
        while not self._up.wait(_LOOK_S):
            if self._stop.is_set():
                raise Stopped
        self.require_whole()

    def _mend(self) -> None:
        """Tries until the database answers, and writes what was kept."""
        for pause_s in pauses():
            time.sleep(pause_s)
            try:
                renewal = self._ledger.renew(self._worker_id)
                self._catch_up(is_known=renewal.state != "gone")
            except Exception as error:  # noqa: BLE001 - raised by the next who uses the line
                if self._db.is_outage(error):
                    self._tell_if_new(error)
                    continue
                with self._lock:
                    self._break(error)
            return

    def _tell_if_new(self, error: BaseException) -> None:
        """Tells why the database is away now: one that is back may be read-only, or full."""
        outage, why = self._outage, str(plain(error))
        logger.debug("still away: %s", why)
        if outage is not None and outage.why != why:
            outage.why = why
            self._tell_of(why)

    def _catch_up(self, *, is_known: bool) -> None:
        outage = self._outage
        assert outage is not None
        while True:
            with self._lock:
                kept = list(self._backlog)
            for batch in outbox.batches(kept):
                self.lost |= outbox.write(self._ledger, batch)
                outage.n_replayed += len(batch)
                with self._lock:
                    del self._backlog[: len(batch)]
            if is_known and not outage.is_told:
                self._tell(outage)
                outage.is_told = True
            if self._end(outage):
                return

    def _tell(self, outage: _Outage) -> None:
        text = (
            f"the database was away for {outage.seconds:.1f} s; wrote {outage.n_replayed} records"
        )
        event = Event(self._study_id, "outage", f"{text} that were kept", worker_id=self._worker_id)
        self._db.transaction(lambda conn: events.record(conn, [event], self._db.now(conn)))

    def _end(self, outage: _Outage) -> bool:
        with self._lock:
            if self._backlog:
                return False
            self._not_on_disk.clear()
            self._spool.remove()
            # Before anybody goes on, who might end this process.
            logger.info(
                "the database is back after %.1f s; wrote %d records that were kept",
                outage.seconds,
                outage.n_replayed,
            )
            self._outage = None
            self._up.set()
            self._tell_of("")
        return True
