"""Events hold whatever a worker says."""

from __future__ import annotations

import pytest

from hpo.store.db.database import Database
from hpo.store.rows import events
from hpo.store.rows.events import Event
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration


def test_events_come_back_newest_first(database: Database) -> None:
    study_id = kit.new_study(database)
    traceback = "\n".join(f"line {i} \N{ROCKET} \0" for i in range(20_000))
    with database.write() as conn:
        now = database.now(conn)
        events.record(conn, [], now)
        events.record(conn, [Event(study_id, "a" * 50), Event(study_id, "oom", traceback)], now)

    oom, long_kind = kit.recent_events(database, study_id)

    assert long_kind == Event(study_id, "a" * 32, at=now)
    assert oom.message == traceback[-events.MAX_MESSAGE :].replace("\0", "")
    assert kit.recent_events(database, study_id, limit=1) == [oom]
    assert kit.recent_events(database, study_id, trial_id=1) == []
