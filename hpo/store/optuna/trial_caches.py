"""Trial caches: those of the studies that were asked for last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from optuna.trial import FrozenTrial

from hpo.store.optuna.trial_cache import Connect, TrialCache
from hpo.store.rows.trial_reader import Head

MAX_STUDIES = 8
"""Studies whose trials are kept in memory; a process mostly works on one. The least recently used
one is dropped first."""


class TrialCaches:
    """The caches of at most `MAX_STUDIES` studies, by study_id.

    Args:
        connect: As for `TrialCache`.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._caches: OrderedDict[int, TrialCache] = OrderedDict()

    def of(self, study_id: int) -> TrialCache:
        """Returns the study's cache, an empty one where there was none."""
        with self._lock:
            if study_id not in self._caches:
                self._caches[study_id] = TrialCache(study_id, self._connect)
            self._caches.move_to_end(study_id)
            if len(self._caches) > MAX_STUDIES:
                self._caches.popitem(last=False)
            return self._caches[study_id]

    def touch(self, trial_ids: Iterable[int]) -> None:
        """Calls `TrialCache.touch` for trials of any study."""
        with self._lock:
            caches = list(self._caches.values())
        for cache in caches:
            cache.touch(trial_ids)

    def forget(self, study_id: int) -> None:
        """Drops a study's cache."""
        with self._lock:
            self._caches.pop(study_id, None)

    def finished(self, head: Head) -> FrozenTrial | None:
        """Returns the trial if a cache has it and `head`, just read, shows that it is the same."""
        with self._lock:
            caches = list(self._caches.values())
        found = (cache.finished(head) for cache in caches)
        return next((trial for trial in found if trial is not None), None)
