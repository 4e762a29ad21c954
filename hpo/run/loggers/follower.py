"""Follower: gives a logger what is new in the database of a study's trials, once and in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from hpo.run.loggers.logger import LoggedTrial, Logger, StudyEnding, TrialEnding
from hpo.run.loggers.logger_journal import LoggerJournal
from hpo.run.loggers.trial_changes import (
    TrialChange,
    read_changes,
    read_endings,
    read_epochs,
    read_logged_trials,
)
from hpo.store.db.database import Database
from hpo.store.studies import study_records
from hpo.store.studies.study_records import StudyRecord

BATCH = 100
"""Trials whose curves are read at once, so that a study of any size fits into memory."""
OVERLAP = 100
"""Ids before the last one that are read again."""


class Follower:
    """Follows one study for one logger.

    What is logged comes from the database, and not from the workers. So no trial waits for a
    logger, what one machine reports another one may log, and after a kill nothing is missing.

    Args:
        db: The database.
        study: The study.
        logger: Where to log.
        journal: Which trials it has finished.
        has_history: Whether the logger is also given what ended before it first looked.
        on_logged: Called for each trial of which something was logged, for a step may take long;
            what it raises ends the step.
    """

    def __init__(
        self,
        db: Database,
        study: StudyRecord,
        logger: Logger,
        journal: LoggerJournal,
        *,
        has_history: bool = True,
        on_logged: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._study = study
        self._logger = logger
        self._journal = journal
        self._on_logged = on_logged
        self._skips_history = journal.is_new and not has_history
        self._floor = 0
        self._open: set[int] = set()
        self._begun: dict[int, LoggedTrial] = {}
        self._epochs: dict[int, int] = {}
        self._paused: set[int] = set()

    def step(self) -> int:
        """Logs what is new; returns how many epochs and endings that was.

        An exception of the logger leaves what it was not given for the next call.

        Raises:
            StoreError: The database is away, or the study was deleted.
        """
        # Before the trials: what it says of them is then known, too.
        study = study_records.reload(self._db, self._study)
        with self._db.read() as conn:
            changes = read_changes(conn, self._study, self._floor, self._open)
        if changes:
            # Of two trials that begin at once, the later one may be seen first.
            self._floor = max(self._floor, changes[-1].head.trial_id + 1 - OVERLAP)
        changes = [one for one in changes if not self._journal.has_ended(one.head.number)]
        self._open |= {one.head.trial_id for one in changes}
        if self._skips_history:
            self._skip([one for one in changes if one.has_ended])
        new = [one for one in changes if one.head.trial_id in self._open and self._has_news(one)]
        n_logged = 0
        try:
            for i in range(0, len(new), BATCH):
                n_logged += self._log(new[i : i + BATCH])
        except Exception:
            # Some of it may have been logged: the place itself is asked again.
            self._begun.clear()
            raise
        finally:
            self._journal.save()
        if any(one.is_held for one in changes):
            return n_logged
        return n_logged + self._finish(study)

    def _has_news(self, change: TrialChange) -> bool:
        key = change.head.trial_id
        if not change.has_begun:
            return False
        is_further = change.epoch > self._epochs.get(key, -1)
        stops = not change.is_held and key not in self._paused
        resumes = change.is_held and key in self._paused
        return change.has_ended or is_further or stops or resumes

    def _log(self, changes: Sequence[TrialChange]) -> int:
        self._begin(changes)
        with self._db.read() as conn:
            after = {one.head.trial_id: self._epochs[one.head.trial_id] for one in changes}
            epochs = read_epochs(conn, self._study, after)
            ended = [one.head for one in changes if one.has_ended]
            endings = read_endings(conn, self._study, ended)
        n_logged = 0
        for change in changes:
            self._on_logged()
            key, new = change.head.trial_id, epochs[change.head.trial_id]
            if new:
                self._logger.log(self._begun[key], new)
                self._epochs[key] = new[-1].epoch
                n_logged += len(new)
            if key in endings:
                self._end(key, endings[key])
                n_logged += 1
            elif not change.is_held and key not in self._paused:
                self._logger.pause(self._begun[key])
                self._paused.add(key)
        return n_logged

    def _begin(self, changes: Sequence[TrialChange]) -> None:
        """Begins trials that this process does not know, and those that were paused."""
        unknown = [one.head for one in changes if one.head.trial_id not in self._begun]
        with self._db.read() as conn:
            # A trial whose params are not all drawn yet has no epoch either.
            trials = read_logged_trials(conn, self._study, unknown)
        for change in changes:
            key = change.head.trial_id
            resumes = key in self._paused and (change.is_held or change.has_ended)
            if key in trials or resumes:
                trial = trials.get(key) or self._begun[key]
                self._epochs[key] = self._logger.begin(trial)
                self._begun[key] = trial
                self._paused.discard(key)
                self._on_logged()

    def _end(self, key: int, ending: TrialEnding) -> None:
        trial = self._begun[key]
        ending = replace(ending, is_best=self._is_best(ending))
        self._logger.end(trial, ending)
        if ending.is_best:
            self._journal.note_best(trial.number, next(iter(ending.values.values())))
        self._journal.note_ended(trial.number)
        self._forget(key)

    def _forget(self, key: int) -> None:
        self._open.discard(key)
        self._paused.discard(key)
        self._begun.pop(key, None)
        self._epochs.pop(key, None)

    def _is_best(self, ending: TrialEnding) -> bool:
        values = list(ending.values.values())
        if ending.state != "COMPLETE" or len(values) != 1 or not math.isfinite(values[0]):
            return False
        known = self._journal.best
        up = self._study.spec.directions[0] == "maximize"
        return known is None or (values[0] > known if up else values[0] < known)

    def _skip(self, ended: Sequence[TrialChange]) -> None:
        """Notes trials that ended before this logger first looked as if they had been logged."""
        with self._db.read() as conn:
            endings = read_endings(conn, self._study, [one.head for one in ended])
        for one in ended:
            ending = endings[one.head.trial_id]
            if self._is_best(ending):
                self._journal.note_best(one.head.number, next(iter(ending.values.values())))
            self._journal.note_ended(one.head.number)
            self._forget(one.head.trial_id)
        self._journal.save()
        self._skips_history = False

    def _finish(self, study: StudyRecord) -> int:
        """Tells the end of the study, once; returns 1 if it did."""
        has_ended = study.state in ("done", "stopped")
        text = f"{study.state}: {study.reason or ''}" if has_ended else ""
        if text == self._journal.ending:
            return 0
        if has_ended:
            self._logger.finish(self._ending(study))
        self._journal.note_ending(text)
        self._journal.save()
        return int(has_ended)

    def _ending(self, study: StudyRecord) -> StudyEnding:
        with self._db.read() as conn:
            changes = read_changes(conn, study, 0, ())
        return StudyEnding(
            state=study.state,
            reason=study.reason or "",
            has_failed=study.state == "stopped" and bool(study.reason),
            n_trials=sum(one.has_ended for one in changes),
            best=self._journal.best_number,
            best_value=self._journal.best,
        )
