"""Retrying storage: Optuna's storage whose calls wait out an outage of the database."""

from __future__ import annotations

from typing import Any, cast

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from hpo.run.link.database_client import DatabaseClient
from hpo.run.link.watchdog import Watchdog


def retrying(storage: BaseStorage, client: DatabaseClient, watchdog: Watchdog) -> BaseStorage:
    """Returns a storage for objectives, which know nothing of outages.

    A report or a suggestion that meets an outage takes as long as the outage, and then has its
    ordinary answer. All of `Storage`'s verbs are safe to repeat.

    Args:
        storage: Talks to the database.
        client: Waits for it.
        watchdog: Leaves the waiting out of the objective's time.
    """
    return cast(BaseStorage, _RetryingStorage(storage, client, watchdog))


class _RetryingStorage:
    # Not a subclass: the methods that `BaseStorage` implements itself would bypass `__getattr__`.
    def __init__(self, storage: BaseStorage, client: DatabaseClient, watchdog: Watchdog) -> None:
        self._storage = storage
        self._client = client
        self._watchdog = watchdog

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._storage, name)

        def once(*args: Any, **kwargs: Any) -> Any:
            try:
                return verb(*args, **kwargs)
            except StorageInternalError as error:
                if isinstance(error.__cause__, SQLAlchemyError):
                    # The database works; it is the value that no database takes.
                    raise ValueError(f"{name}: {error}") from error
                raise

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._watchdog.paused():
                return self._client.call(lambda: once(*args, **kwargs))

        return call
