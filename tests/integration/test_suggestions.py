"""Records of plans are kept in their order."""

from __future__ import annotations

import pytest

from hpo.store import suggestions
from hpo.store.database import Database
from tests.integration import ledger_kit as kit

pytestmark = pytest.mark.integration


def test_they_come_in_their_order_each_study_by_itself(database: Database) -> None:
    first, second = kit.new_study(database, "a"), kit.new_study(database, "b")
    for study_id, text in ((first, "1"), (second, "2"), (first, "3")):
        suggestions.add(database, study_id, 7, text)
    assert [one.record for one in suggestions.of_study(database, first)] == ["1", "3"]
    assert suggestions.of_study(database, second)[0].worker_id == 7
    assert suggestions.newest(database, first) == "3"
    assert suggestions.newest(database, 99) is None
