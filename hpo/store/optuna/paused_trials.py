"""Paused trials: kept as they were read while their leases have not moved."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from hpo.optuna_internals import trial_id_of
from hpo.store.ledger.leases import LeaseStatus
from hpo.store.optuna.lease_cache import LeaseCache

REREAD_S = 300.0
"""Seconds after which paused trials are read again although their leases have not moved."""


class PausedTrials:
    """The paused trials of one study; not for several threads.

    Args:
        study_id: The study.
    """

    def __init__(self, study_id: int) -> None:
        self._leases = LeaseCache(study_id)
        self._kept: dict[int, FrozenTrial] = {}
        self._reread_at_s = time.monotonic() + REREAD_S

    def __iter__(self) -> Iterator[FrozenTrial]:
        return iter(list(self._kept.values()))

    @property
    def leases(self) -> Mapping[int, LeaseStatus]:
        """The leases of all unfinished trials, by trial_id."""
        return self._leases.statuses

    def get(self, trial_id: int) -> FrozenTrial | None:
        """Returns a trial if it is kept."""
        return self._kept.get(trial_id)

    def missing(self, trial_ids: set[int]) -> set[int]:
        """Returns the trial_ids of trials that are not kept."""
        return trial_ids - self._kept.keys()

    def refresh(self, connection: sa.Connection) -> None:
        """Learns which trials are paused at this moment, and drops those whose lease has moved.

        A trial that is read after this is at least as new as its lease.
        """
        moved = self._leases.refresh(connection)
        if time.monotonic() > self._reread_at_s:
            self._kept.clear()
            self._reread_at_s = time.monotonic() + REREAD_S
        self.drop(moved & self._kept.keys())

    def keep(self, trials: Iterable[FrozenTrial]) -> list[int]:
        """Keeps the paused ones of trials that were just read, and returns their ids."""
        kept = {
            trial_id_of(trial): trial
            for trial in trials
            if trial.state is TrialState.RUNNING and self._leases.is_paused(trial_id_of(trial))
        }
        self._kept.update(kept)
        return list(kept)

    def drop(self, trial_ids: Iterable[int]) -> None:
        """Has trials read again, whatever their leases say."""
        for trial_id in trial_ids:
            self._kept.pop(trial_id, None)

    def clear(self) -> None:
        """Has all trials read again."""
        self._kept.clear()
