"""Optuna's own contract for storages, on every database."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from hpo.store import optuna_schema
from hpo.store.database import Database
from hpo.store.storage import Storage

pytestmark = pytest.mark.integration


class TestStorage(StorageTestCase):
    @pytest.fixture
    def storage(self, database_url: str) -> Iterator[Storage]:
        # Optuna's tables alone: the storage needs no others.
        database = Database(database_url)
        optuna_schema.create_all_and_stamp(database.engine)
        yield Storage(database)
        database.dispose()
        # A pickled copy closes its connections when it is collected: not in another test.
        gc.collect()
