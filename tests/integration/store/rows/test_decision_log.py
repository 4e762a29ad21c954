"""Records of plans are kept in their order."""

from __future__ import annotations

import pytest

from hpo.store.db.database import Database
from hpo.store.rows import decision_log
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration


def test_they_come_in_their_order_each_study_by_itself(database: Database) -> None:
    first, second = kit.new_study(database, "a"), kit.new_study(database, "b")
    for study_id, text in ((first, "1"), (second, "2"), (first, "3")):
        decision_log.add(database, study_id, 7, text)
    assert [one.record for one in decision_log.of_study(database, first)] == ["1", "3"]
    assert decision_log.of_study(database, second)[0].worker_id == 7
    assert decision_log.newest(database, first) == "3"
    assert decision_log.newest(database, 99) is None
