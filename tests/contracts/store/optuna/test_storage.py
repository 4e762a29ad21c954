"""Optuna's own contract for storages, on every database."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage

pytestmark = pytest.mark.integration


class TestStorage(StorageTestCase):
    @pytest.fixture
    def storage(self, database: Database) -> Iterator[Storage]:
        yield Storage(database)
        # A pickled copy closes its connections when it is collected: not in another test.
        gc.collect()
