"""The trials of one study, kept in memory and read again only where they may have changed.

Why a cached answer is a right one:

* A finished trial never changes: Optuna refuses every write to it, and so do we, in the same
  statement (`trial_rows.write_fenced`). So it is read once. What is unfinished is read at each
  question that wants unfinished trials, because its values may be overwritten in place.
* Paused trials are unfinished, too, and a study of many epochs has thousands. Who works on one
  writes its lease first, so they are read again when their lease has moved (`lease_book`).
  Another program that writes to one without a lease, such as plain Optuna, is seen after
  `REREAD_S` at the latest, when they are all read again.
* New trials are found by id, but not as `id > last_seen`, since rows become visible in the order
  of commits. Numbers tell what is missing: they are consecutive, so as long as number 7 is
  unknown, everything after number 6 is read again. The newest `YOUNG` trials before that point
  are read again too, against writers who give numbers without locking the study.
* Those same young trials show whether the study is still the one that was cached. SQLite gives
  the id of a deleted study, and the ids of its trials, to the next one. If any known young trial
  is gone or differs in its number or times, everything is forgotten and read anew.

Memory: about 1 kB a finished trial of 10 params, plus 75 bytes an intermediate value that
somebody looked at; distributions are shared. A study of 100,000 trials takes some 100 MB.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from typing import NamedTuple

import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from hpo.optuna_internals import trial_id_of
from hpo.store.db import optuna_tables as schema
from hpo.store.ledger.leases import LeaseStatus
from hpo.store.optuna.lease_cache import LeaseCache
from hpo.store.rows import trial_reader
from hpo.store.rows.stored_trial import StoredTrial
from hpo.store.rows.trial_reader import Head

YOUNG = 32
"""How many trials before the first unknown number are read again at every look."""

EAGER = 256
"""Up to so many newly finished trials come with their intermediate values at once."""

REACH = 8
"""How far, in chunks of trials, to look for others whose intermediate values to read along."""

FEW_OPEN = 48
"""Up to so many unfinished trials are read without a look at their leases."""

REREAD_S = 300.0
"""Seconds after which paused trials are read again although their leases have not moved."""

Connect = Callable[[], AbstractContextManager[sa.Connection]]


class Cursor(NamedTuple):
    """How much somebody has seen of what a cache has read."""

    generation: int
    n_read: int


class Changes(NamedTuple):
    """What has changed in a study, or may have.

    Attributes:
        trials: Those that were read since, and all that somebody works on or may begin.
        leases: Where the unfinished trials stand that have a lease, by trial_id; all of them.
        cursor: For the next question.
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
            opened = list(self._still.values()) if TrialState.RUNNING in wanted else []
            opened += self._load(connection, wanted)
            finished = self._finished(wanted)
            if not opened:
                return list(finished)
            return sorted([*finished, *opened], key=_number)

    def changes(self, since: Cursor | None = None) -> Changes:
        """Returns what has changed since another such question; without one, everything.

        The caller must not change the trials.

        Raises:
            KeyError: There is no such study.
        """
        with self._lock, self._connect() as connection, trial_reader.without_collector():
            self._refresh(connection, watch=True)
            known = list(self._still.values())
            opened = self._load(connection, frozenset(TrialState))
            cursor = Cursor(self._generation, len(self._read))
            if since is None or since.generation != self._generation:
                found = [*self._trials.values(), *known, *opened]
            else:
                news = {trial_id_of(trial): trial for trial in opened}
                for trial_id in self._read[since.n_read :]:
                    trial = self._trials.get(trial_id) or self._still.get(trial_id)
                    if trial is not None:
                        news[trial_id] = trial
                found = list(news.values())
            return Changes(sorted(found, key=_number), self._leases.statuses, cursor)

    def touch(self, trial_ids: Iterable[int]) -> None:
        """Has trials read again that were just written, whatever their leases say."""
        with self._lock:
            for trial_id in trial_ids:
                self._still.pop(trial_id, None)

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
        self._leases = LeaseCache(self._study_id)
        # The paused trials as they were read, while their leases have not moved.
        self._still: dict[int, FrozenTrial] = {}
        self._reread_at_s = time.monotonic() + REREAD_S
        # The ids of trials in the order in which they were read; those that are in work left out.
        self._read: list[int] = []
        self._generation += 1

    def _refresh(self, connection: sa.Connection, *, watch: bool = False) -> None:
        self._is_watched = watch or len(self._open) > FEW_OPEN
        if self._is_watched:
            self._watch(connection)
        else:
            self._still.clear()
        self._refresh_heads(connection)
        if not self._is_watched and len(self._open) > FEW_OPEN:
            self._is_watched = True
            self._watch(connection)

    def _watch(self, connection: sa.Connection) -> None:
        """Learns which trials were paused at this moment, and forgets those that have moved.

        What is read of a trial after this is at least as new as its lease.
        """
        moved = self._leases.refresh(connection)
        if time.monotonic() > self._reread_at_s:
            self._still.clear()
            self._reread_at_s = time.monotonic() + REREAD_S
        for trial_id in moved & self._still.keys():
            del self._still[trial_id]

    def _refresh_heads(self, connection: sa.Connection) -> None:
        young = self._order[max(0, self._contiguous - YOUNG) :]
        floor = min(young, default=0)
        unsure = self._open - self._still.keys()
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
        for head in changed:
            self._heads[head.trial_id] = head
            self._open.discard(head.trial_id)
            self._still.pop(head.trial_id, None)
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
        """Reads those of `wanted` that are not known, and returns the unfinished ones of them."""
        finished = [h for h in self._pick(self._unread) if h.state in wanted]
        unread = self._open - self._still.keys()
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
            self._keep_paused(rest)
        return rest

    def _keep_paused(self, trials: list[FrozenTrial]) -> None:
        for trial in trials:
            if trial.state is TrialState.RUNNING and self._leases.is_paused(trial_id_of(trial)):
                self._still[trial_id_of(trial)] = trial
                self._read.append(trial_id_of(trial))

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
        """Sets the intermediate values of a deferred trial and of its deferred neighbours."""
        with self._lock, self._connect() as connection, trial_reader.without_collector():
            head = trial_reader.read_head(connection, trial_id_of(trial))
            if head is None or not _is_row_of(head, trial):
                raise KeyError(f"trial {trial.number} was deleted with its study")
            block = {trial_id_of(trial): trial} | self._deferred_after(trial)
            for trial_id, values in trial_reader.read_intermediate(connection, block).items():
                block[trial_id].intermediate_values = values

    def _deferred_after(self, trial: StoredTrial) -> dict[int, StoredTrial]:
        # Who asks for a pruned trial's values wants those of the pruned ones, as TPE does; who
        # asks for a complete one's, such as the median pruner, those of the complete ones.
        following = self._order[trial.number : trial.number + REACH * trial_reader.CHUNK]
        alike = (
            (trial_id, other)
            for trial_id in following
            if isinstance(other := self._trials.get(trial_id), StoredTrial)
            and other.state is trial.state
            and other.is_deferred
        )
        return dict(islice(alike, trial_reader.CHUNK - 1))


def _number(trial: FrozenTrial) -> int:
    return trial.number


def _continues(known: Head, found: Head | None) -> bool:
    """Whether `found` can be the trial that was `known`: the same, or gone on from there."""
    if found is None or found.number != known.number:
        return False
    if known.state.is_finished():
        return found == known
    # A waiting trial gets its start when it is claimed; Optuna keeps the one a template gave.
    restarted = known.state is TrialState.WAITING or found.state is TrialState.WAITING
    return restarted or found.datetime_start == known.datetime_start


def _is_row_of(head: Head, trial: FrozenTrial) -> bool:
    completed_at = schema.utc_to_local(head.datetime_complete)
    return (head.number, completed_at) == (trial.number, trial.datetime_complete)
