"""Trial cache: the trials of one study, read again only where they may have changed.

A cached answer is right for these reasons:

* A finished trial never changes: Optuna refuses every write to it, and so does hpo, in the same
  statement (`trial_rows.write_fenced`). So it is read once. Unfinished trials are read whenever
  they are asked for, because their values may be overwritten in place.
* Paused trials are unfinished, too, and a study of many epochs has thousands. A worker that
  continues one writes its lease first, so they are read again when their lease has moved
  (`paused_trials`). Writes of programs that take no lease, such as plain Optuna, are seen after
  `paused_trials.REREAD_S` at the latest, when all paused trials are read again.
* New trials are found by id, but not as `id > last_seen`, since rows become visible in the order
  of commits. Numbers tell what is missing, because they are consecutive: as long as number 7 is
  unknown, everything after number 6 is read again. The newest `YOUNG` trials before that point
  are read again too, against writers who give numbers without locking the study.
* The same young trials show whether the study is still the one that was cached. SQLite gives the
  id of a deleted study, and the ids of its trials, to the next one. If any known young trial is
  gone or differs in its number or times, everything is forgotten and read anew.

Memory: about 1 kB a finished trial of 10 params, plus 75 bytes an intermediate value that was
asked for; distributions are shared. A study of 100,000 trials takes some 100 MB.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from hpo.optuna_internals import trial_id_of
from hpo.store.db import optuna_tables as schema
from hpo.store.ledger.leases import LeaseStatus
from hpo.store.optuna.paused_trials import PausedTrials
from hpo.store.rows import trial_reader
from hpo.store.rows.stored_trial import StoredTrial
from hpo.store.rows.trial_reader import Head

YOUNG = 32
"""Trials before the first unknown number that are read again: more than writers at a time."""

EAGER = 256
"""Up to so many newly finished trials are read at once with their intermediate values."""

REACH = 8
"""Chunks of trials among which to find others whose deferred values are read along."""

FEW_OPEN = 48
"""Up to so many unfinished trials are read without their leases, which costs less."""

Connect = Callable[[], AbstractContextManager[sa.Connection]]


class Cursor(NamedTuple):
    """How much of what a cache has read was seen by its caller."""

    generation: int
    n_read: int


class Changes(NamedTuple):
    """The trials of a study that have changed, or may have.

    Attributes:
        trials: Those that were read since, and all that are running or waiting.
        leases: The leases of all unfinished trials, by trial_id.
        cursor: For the next call.
    """

    trials: list[FrozenTrial]
    leases: Mapping[int, LeaseStatus]
    cursor: Cursor


class TrialCache:
    """Answers for the trials of one study; used by several threads at once.

    Args:
        study_id: The study, which need not exist.
        connect: Opens a reading transaction; its errors reach the caller.
    """

    def __init__(self, study_id: int, connect: Connect) -> None:
        self._study_id = study_id
        self._connect = connect
        self._lock = threading.RLock()
        self._generation = 0
        self._is_watched = False
        self._forget()

    def heads(self) -> list[Head]:
        """Returns every trial's row, ascending by number.

        Raises:
            KeyError: There is no such study.
        """
        with self._lock, self._connect() as connection:
            self._refresh(connection)
            return [self._heads[trial_id] for trial_id in self._order]

    def trials(self, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Returns the trials in one of `states` (None: all), ascending by number.

        One statement when nothing is new, one more for what is; finished trials are the cached
        objects themselves, so the caller must not change them.

        Raises:
            KeyError: There is no such study.
        """
        wanted = frozenset(s for s in TrialState if states is None or s in states)
        with self._lock, self._connect() as connection, trial_reader.without_collector():
            self._refresh(connection)
            opened = list(self._paused) if TrialState.RUNNING in wanted else []
            opened += self._load(connection, wanted)
            finished = self._finished(wanted)
            if not opened:
                return list(finished)
            return sorted([*finished, *opened], key=_number)

    def changes(self, since: Cursor | None = None) -> Changes:
        """Returns what has changed since another call; without one, everything.

        The caller must not change the trials.

        Raises:
            KeyError: There is no such study.
        """
        with self._lock, self._connect() as connection, trial_reader.without_collector():
            self._refresh(connection, watch=True)
            known = list(self._paused)
            opened = self._load(connection, frozenset(TrialState))
            cursor = Cursor(self._generation, len(self._read))
            if since is None or since.generation != self._generation:
                found = [*self._trials.values(), *known, *opened]
            else:
                news = {trial_id_of(trial): trial for trial in opened}
                for trial_id in self._read[since.n_read :]:
                    trial = self._trials.get(trial_id) or self._paused.get(trial_id)
                    if trial is not None:
                        news[trial_id] = trial
                found = list(news.values())
            return Changes(sorted(found, key=_number), self._paused.leases, cursor)

    def touch(self, trial_ids: Iterable[int]) -> None:
        """Has trials read again that were just written."""
        with self._lock:
            self._paused.drop(trial_ids)

    def finished(self, head: Head) -> FrozenTrial | None:
        """Returns the cached trial, if `head`, just read, shows that it is still the same."""
        trial = self._trials.get(head.trial_id)
        return trial if self._heads.get(head.trial_id) == head else None

    def _forget(self) -> None:
        self._heads: dict[int, Head] = {}
        self._trials: dict[int, FrozenTrial] = {}
        self._open: set[int] = set()
        self._unread: set[int] = set()
        # Ids, ascending by number; the first `_contiguous` of them have the numbers 0, 1, 2, ...
        self._order: list[int] = []
        self._contiguous = 0
        self._by_states: dict[frozenset[TrialState], list[FrozenTrial]] = {}
        self._paused = PausedTrials(self._study_id)
        # The ids of finished and paused trials in the order in which they were read.
        self._read: list[int] = []
        self._generation += 1

    def _refresh(self, connection: sa.Connection, *, watch: bool = False) -> None:
        self._is_watched = watch or len(self._open) > FEW_OPEN
        if self._is_watched:
            self._paused.refresh(connection)
        else:
            self._paused.clear()
        self._refresh_heads(connection)
        if not self._is_watched and len(self._open) > FEW_OPEN:
            self._is_watched = True
            self._paused.refresh(connection)

    def _refresh_heads(self, connection: sa.Connection) -> None:
        young = self._order[max(0, self._contiguous - YOUNG) :]
        floor = min(young, default=0)
        unsure = self._paused.missing(self._open)
        also = [trial_id for trial_id in unsure if trial_id < floor]
        heads = trial_reader.read_heads(connection, self._study_id, floor, also)
        if young and not self._same_study(heads, [*young, *also]):
            self._forget()
            heads = trial_reader.read_heads(connection, self._study_id, 0, ())
        if not heads:
            self._require_study(connection)
        self._take(heads)

    def _same_study(self, heads: list[Head], expected: list[int]) -> bool:
        found = {head.trial_id: head for head in heads}
        return all(_continues(self._heads[i], found.get(i)) for i in expected)

    def _require_study(self, connection: sa.Connection) -> None:
        s = schema.studies.c.study_id
        if connection.execute(sa.select(s).where(s == self._study_id)).first() is None:
            raise KeyError(f"there is no study with study_id {self._study_id}")

    def _take(self, heads: list[Head]) -> None:
        changed = [head for head in heads if self._heads.get(head.trial_id) != head]
        if not changed:
            return
        new = [head.trial_id for head in changed if head.trial_id not in self._heads]
        self._paused.drop(head.trial_id for head in changed)
        for head in changed:
            self._heads[head.trial_id] = head
            self._open.discard(head.trial_id)
            (self._unread if head.state.is_finished() else self._open).add(head.trial_id)
        if new:
            self._order.extend(new)
            self._order.sort(key=lambda trial_id: self._heads[trial_id].number)
            self._count_contiguous()

    def _count_contiguous(self) -> None:
        n = self._contiguous
        while n < len(self._order) and self._heads[self._order[n]].number <= n:
            n += 1
        self._contiguous = n

    def _load(self, connection: sa.Connection, wanted: frozenset[TrialState]) -> list[FrozenTrial]:
        """Reads the trials of `wanted` that are not known, and returns the unfinished ones."""
        finished = [h for h in self._pick(self._unread) if h.state in wanted]
        unread = self._paused.missing(self._open)
        opened = [h for h in self._pick(unread) if h.state in wanted]
        eager = len(finished) <= EAGER
        heads = [*finished, *opened] if eager else finished
        trials = trial_reader.read_trials(connection, heads, intermediate=eager)
        for head, trial in zip(finished, trials, strict=False):
            if not eager and isinstance(trial, StoredTrial):
                trial.defer(self._load_intermediate)
            self._trials[head.trial_id] = trial
            self._unread.discard(head.trial_id)
        if finished:
            self._by_states.clear()
            self._read += [head.trial_id for head in finished]
        rest = list(trials if eager else trial_reader.read_trials(connection, opened))
        if self._is_watched:
            self._read += self._paused.keep(rest)
        return rest

    def _pick(self, trial_ids: set[int]) -> list[Head]:
        return [self._heads[trial_id] for trial_id in sorted(trial_ids)]

    def _finished(self, wanted: frozenset[TrialState]) -> list[FrozenTrial]:
        if wanted not in self._by_states:
            ids = (i for i in self._order if i in self._trials)
            self._by_states[wanted] = [
                trial for trial in map(self._trials.__getitem__, ids) if trial.state in wanted
            ]
        return self._by_states[wanted]

    def _load_intermediate(self, trial: StoredTrial) -> None:
        """Reads the intermediate values of a deferred trial and of its deferred neighbours."""
        with self._lock, self._connect() as connection, trial_reader.without_collector():
            head = trial_reader.read_head(connection, trial_id_of(trial))
            if head is None or not _is_row_of(head, trial):
                raise KeyError(f"trial {trial.number} was deleted with its study")
            block = {trial_id_of(trial): trial} | self._deferred_after(trial)
            for trial_id, values in trial_reader.read_intermediate(connection, block).items():
                block[trial_id].intermediate_values = values

    def _deferred_after(self, trial: StoredTrial) -> dict[int, StoredTrial]:
        # TPE asks for the values of all pruned trials, the median pruner for those of all complete
        # ones: trials of the same state are read along.
        following = self._order[trial.number : trial.number + REACH * trial_reader.CHUNK]
        alike = (
            (trial_id, other)
            for trial_id in following
            if isinstance(other := self._trials.get(trial_id), StoredTrial)
            and other.state is trial.state
            and other.is_deferred
        )
        return dict(islice(alike, trial_reader.CHUNK - 1))


_number = attrgetter("number")


def _continues(known: Head, found: Head | None) -> bool:
    """Returns whether `found` can be the trial that was `known`, unchanged or later."""
    if found is None or found.number != known.number:
        return False
    if known.state.is_finished():
        return found == known
    # A waiting trial gets its start when it is claimed; Optuna keeps the one a template gave.
    restarted = known.state is TrialState.WAITING or found.state is TrialState.WAITING
    return restarted or found.datetime_start == known.datetime_start


def _is_row_of(head: Head, trial: FrozenTrial) -> bool:
    completed_at = schema.utc_to_local(head.datetime_complete)
    return head.number == trial.number and completed_at == trial.datetime_complete
