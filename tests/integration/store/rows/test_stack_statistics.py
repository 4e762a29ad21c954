"""What is known of stacks: how many lanes they take, and under which circumstances."""

from __future__ import annotations

import pytest

from hpo.store.db.database import Database
from hpo.store.rows import stack_statistics
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration


def test_a_measurement_has_an_age_and_a_newer_one_replaces_it(database: Database) -> None:
    stack_statistics.remember(database, "cpu", "a", 1, 2.5)
    stack_statistics.remember(database, "cpu", "b", 4, None)
    stack_statistics.remember(database, "other", "a", 8, 1.0)
    kit.pass_time(database, 100.0)
    found = stack_statistics.known(database, "cpu")
    assert {key: (one.lanes, one.slowdown) for key, one in found.items()} == {
        "a": (1, 2.5),
        "b": (4, None),
    }
    assert 100.0 <= found["a"].age_s < 200.0

    stack_statistics.remember(database, "cpu", "a", 16, 1.1)
    newer = stack_statistics.known(database, "cpu")["a"]
    assert (newer.lanes, newer.slowdown) == (16, 1.1)
    assert newer.age_s < 90.0
