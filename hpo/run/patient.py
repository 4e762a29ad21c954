"""Optuna's storage for code that knows nothing of outages: each call waits them out."""

from __future__ import annotations

from typing import Any, cast

from optuna.storages import BaseStorage

from hpo.run.line import Line


def patient(storage: BaseStorage, line: Line) -> BaseStorage:
    """Returns the storage as an objective shall see it.

    A report or a suggestion that meets an outage takes as long as the outage, and then has its
    ordinary answer. All of `Storage`'s verbs are safe to repeat.
    """
    return cast(BaseStorage, _PatientStorage(storage, line))


class _PatientStorage:
    # Not a subclass: the methods that `BaseStorage` implements itself would bypass `__getattr__`.
    def __init__(self, storage: BaseStorage, line: Line) -> None:
        self._storage = storage
        self._line = line

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._storage, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._line.patiently(lambda: verb(*args, **kwargs))

        return call
