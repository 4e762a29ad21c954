"""Logger thread: keeps one logger following its study, whatever that or the database does."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hpo.errors import StoreError
from hpo.run.loggers.follower import Follower
from hpo.run.loggers.known_loggers import factory_of
from hpo.run.loggers.logger import LoggedStudy, Logger
from hpo.run.loggers.logger_journal import LoggerJournal
from hpo.spec.logger_choices import LoggerChoice
from hpo.store.db.database import Database
from hpo.store.studies import logger_leases
from hpo.store.studies.study_records import StudyRecord

logger = logging.getLogger(__name__)
POLL_S: Final = 1.0
MOST_SHARE: Final = 0.1
"""Largest share of the time that a logger reads the database."""
RENEW_S: Final = logger_leases.GRACE_S / 6
"""Seconds after which the lease of a place is renewed."""
STANDBY_S: Final = 5.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_LAST_TRIES: Final = 3


class LoggerThread(threading.Thread):
    """Follows a study for one logger until it is told to finish.

    Args:
        db: The database; its own, for it may be away.
        study: The study.
        about: What the logger knows of the study.
        choice: The logger and its target.
        journal: File of what it has finished; None keeps nothing.
        tell: Called with warnings for the person who runs the study, and with ``logged`` counts.
        finishing: Set when no more is to come: what is there is logged, then the thread ends.
    """

    def __init__(
        self,
        db: Database,
        study: StudyRecord,
        about: LoggedStudy,
        choice: LoggerChoice,
        journal: Path | None,
        tell: Callable[..., None],
        finishing: threading.Event,
    ) -> None:
        super().__init__(name=f"logger {choice.name}", daemon=True)
        self._db = db
        self._study = study
        self._about = about
        self._choice = choice
        self._journal = journal
        self._tell = tell
        self._finishing = finishing
        self._logger: Logger | None = None
        self._follower: Follower | None = None
        self._place = place_of(choice)
        self._is_holder = False
        self._asked_s = -RENEW_S
        self._told_s = 0.0
        self._warned: set[str] = set()

    def run(self) -> None:
        """Logs until it is told to finish and all is logged, or cannot be."""
        pause_s, n_failed = _FIRST_PAUSE_S, 0
        while True:
            is_last = self._finishing.is_set()
            began_s = time.monotonic()
            try:
                n_logged = self._follow()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - of a logger or its server
                n_failed += 1
                self._warn(error)
                if is_last and n_failed >= _LAST_TRIES:
                    self._warn_once("not all is logged; the same command again logs the rest")
                    break
                self._finishing.wait(pause_s) if not is_last else time.sleep(_FIRST_PAUSE_S)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            pause_s, n_failed = _FIRST_PAUSE_S, 0
            if n_logged:
                self._tell(logged=n_logged)
            elif is_last:
                break
            spent_s = time.monotonic() - began_s
            if not n_logged:
                self._finishing.wait(max(POLL_S, spent_s / MOST_SHARE))
        self._close()

    def _follow(self) -> int:
        if not self._has_lease():
            self._warn_once("another process logs this study there; this one waits for its end")
            self._logger = self._follower = None
            return 0
        if self._follower is None:
            factory = factory_of(self._choice.name)
            self._logger = self._logger or factory(self._choice.target, self._about)
            journal = LoggerJournal(self._journal)
            has_history = getattr(self._logger, "has_history", True)
            self._follower = Follower(
                self._db,
                self._study,
                self._logger,
                journal,
                has_history=has_history,
                on_logged=self._keep,
            )
        return self._follower.step()

    def _keep(self) -> None:
        """Tells that something is being logged, and keeps the lease meanwhile.

        Raises:
            StoreError: Another process has it.
        """
        now_s = time.monotonic()
        if now_s > self._told_s + POLL_S:
            self._told_s = now_s
            self._tell(logged=1)
        if not self._has_lease():
            self._follower = None
            raise StoreError("another process logs this study there now")

    def _has_lease(self) -> bool:
        now_s = time.monotonic()
        if now_s > self._asked_s + (RENEW_S if self._is_holder else STANDBY_S):
            self._is_holder = logger_leases.acquire(self._db, self._study.study_id, self._place)
            self._asked_s = now_s
        return self._is_holder

    def _close(self) -> None:
        try:
            if self._logger is not None:
                self._logger.close()
            logger_leases.release(self._db, self._study.study_id, self._place)
        except Exception as error:  # noqa: BLE001 - as above
            self._warn(error)

    def _warn(self, error: BaseException) -> None:
        text = self._choice.hidden(f"{type(error).__name__}: {error}".strip(": "))
        line = text.splitlines()[0][:300]
        logger.warning("%s: %s", self._choice.shown, text)
        # Workers wait for the database, too, and say so themselves.
        if not (isinstance(error, StoreError) and self._db.is_outage(error)):
            self._warn_once(f"{line}; trials train on, and it is tried again")

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._tell(warning=f"{self._choice.name}: {text}")


def place_of(choice: LoggerChoice) -> str:
    """Returns what tells the place of a logger from all others, on all machines."""
    target = choice.target or ""
    is_remote = target.startswith(("http://", "https://", "databricks"))
    where = "" if is_remote else f"{socket.gethostname()}:{Path.cwd()}:"
    return f"{choice.name}:{where}{target}"
