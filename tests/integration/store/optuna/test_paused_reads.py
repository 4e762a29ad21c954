"""Paused trials are read once, and again only after they were resumed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.db.opening import open_database
from hpo.store.ledger.leases import AssignmentRequest, AssignmentRequests, Lease, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna import paused_trials, trial_cache
from hpo.store.optuna.storage import Storage
from hpo.store.optuna.trial_cache import Changes
from tests.conftest import GetServer
from tests.kits import ledger_kit as kit
from tests.kits.outages import Cable

pytestmark = pytest.mark.integration
UNIT = FloatDistribution(0.0, 1.0)
N_PAUSED = 300


class Study:
    """A study whose trials pause, and what a reader knows that asks for changes only."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.ledger = Ledger(db)
        self.study_id = kit.new_study(db, trials=10_000, epochs=100, total_epochs=1_000_000)
        self.worker_id = kit.new_worker(db, self.study_id)
        self.writer = Storage(db)
        self.reader = Storage(db)
        self.known: dict[int, FrozenTrial] = {}
        self.seen: Changes | None = None
        self.held: dict[int, Lease] = {}

    def claim(self, *requests: AssignmentRequest) -> tuple[Lease, ...]:
        claim = self.ledger.claim(
            self.study_id, self.worker_id, len(requests), self.held, AssignmentRequests(requests)
        )
        self.held |= {lease.trial_id: lease for lease in claim.leases}
        new = [lease.trial_id for lease in claim.leases if lease.is_new]
        self.writer.set_params([(i, {"learning_rate": (0.5, UNIT)}) for i in new])
        return claim.leases

    def train(self, *leases: Lease, state: Any = "paused") -> None:
        rows = [kit.epoch_row(one, one.epoch + 1, one.trial_id / 7) for one in leases]
        assert self.ledger.report(rows) == set()
        outcomes: list[Outcome] = [kit.outcome(one, state, epoch=one.epoch + 1) for one in leases]
        assert self.ledger.settle(outcomes) == set()
        for lease in leases:
            del self.held[lease.trial_id]

    def pause_many(self, n: int) -> list[int]:
        ids: list[int] = []
        while len(ids) < n:
            leases = self.claim(*[AssignmentRequest(None, 0, 1)] * min(64, n - len(ids)))
            self.train(*leases)
            ids += [lease.trial_id for lease in leases]
        return ids

    def look(self) -> Changes:
        """Asks for what has changed, and takes it in."""
        self.seen = self.reader.changes(self.study_id, self.seen and self.seen.cursor)
        self.known |= {trial._trial_id: trial for trial in self.seen.trials}
        return self.seen

    def assert_known(self) -> None:
        """What is known by changes alone is what a newcomer reads."""
        seen = self.look()
        fresh = Storage(self.db).get_all_trials(self.study_id, deepcopy=False)
        assert [self.known[key] for key in sorted(self.known)] == fresh
        assert self.reader.get_all_trials(self.study_id, deepcopy=False) == fresh
        assert seen.leases == self.ledger.study_status(self.study_id).leases


@pytest.fixture
def study(database: Database) -> Study:
    return Study(database)


def _cursor_rows(db: Database) -> list[int]:
    """Returns a list to which the rows of each later question are added."""
    rows: list[int] = []

    def count(_conn: object, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            rows.append(cursor.rowcount)

    sa.event.listen(db.engine, "after_cursor_execute", count)
    return rows


def test_a_look_with_nothing_new_reads_no_paused_trial(study: Study) -> None:
    study.pause_many(N_PAUSED)
    assert len(study.look().trials) == N_PAUSED
    rows = _cursor_rows(study.db)
    assert study.look().trials == []
    # The sums of the leases, and the youngest trials.
    assert len(rows) == 2
    if study.db.dialect != "sqlite":
        assert sum(rows) <= 1 + trial_cache.YOUNG
    study.assert_known()


def test_what_one_worker_did_is_what_another_reads(study: Study) -> None:
    ids = study.pause_many(N_PAUSED)
    study.look()
    ended, advanced = ids[5], ids[9]
    again = study.claim(AssignmentRequest(ended, 1, 2), AssignmentRequest(advanced, 1, 2))
    study.train(again[0], state="complete")
    study.train(again[1])
    rows = _cursor_rows(study.db)
    changed = study.look()
    assert {trial._trial_id for trial in changed.trials} == {ended, advanced}
    if study.db.dialect != "sqlite":
        # Leases that were written in the last minute are looked at again, not their trials.
        assert sum(rows) < 2 * N_PAUSED + 100
    study.assert_known()


def test_whatever_is_done_changes_are_all_there_is_to_know(study: Study) -> None:
    dice = random.Random(7)
    ids = study.pause_many(80)
    for _ in range(40):
        what = dice.choice(["new", "advance", "advance", "end", "look", "attr", "fail"])
        if what == "new":
            study.train(*study.claim(*[AssignmentRequest(None, 0, 1)] * 3))
        elif what in ("advance", "end"):
            status = study.ledger.study_status(study.study_id).leases
            chosen = [i for i in dice.sample(ids, 4) if i in status and not status[i].is_held]
            requests = [AssignmentRequest(i, status[i].epoch, status[i].epoch + 1) for i in chosen]
            leases = study.claim(*requests)
            if dice.random() < 0.8:
                study.train(*leases, state="paused" if what == "advance" else "pruned")
        elif what == "attr":
            for trial_id in study.held:
                study.writer.set_trial_user_attr(trial_id, "a", dice.random())
        elif what == "fail" and study.held:
            study.train(*list(study.held.values())[:2], state="failed")
        else:
            study.look()
        if dice.random() < 0.5:
            study.assert_known()
    study.assert_known()


def test_a_lease_that_was_written_long_before_it_was_seen_is_noticed(study: Study) -> None:
    """Its transaction was open for long, so that its time is that of an old one."""
    ids = study.pause_many(60)
    study.look()
    with study.db.write() as conn:
        row = hpo_lease.c
        old = study.db.now(conn) - timedelta(hours=1)
        moved = sa.update(hpo_lease).where(row.trial_id == ids[3])
        conn.execute(moved.values(epoch=2, updated_at=old))
    study.assert_known()
    with study.db.write() as conn:
        conn.execute(sa.delete(hpo_lease).where(hpo_lease.c.trial_id == ids[4]))
    study.assert_known()


def test_what_others_write_without_a_lease_is_seen_in_time(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = study.pause_many(60)
    study.look()
    # Through the same storage: at once.
    study.reader.set_trial_user_attr(ids[0], "mine", 1)
    assert [trial.user_attrs for trial in study.look().trials] == [{"mine": 1}]
    # From elsewhere, as plain Optuna writes: when all are read again.
    study.writer.set_trial_intermediate_value(ids[1], 9, 0.9)
    assert study.look().trials == []
    assert study.reader.get_trial(ids[1]).intermediate_values[9] == 0.9
    now_s = time.monotonic() + paused_trials.REREAD_S
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 1)
    study.assert_known()
    assert study.known[ids[1]].intermediate_values[9] == 0.9


@pytest.fixture
def cable(server_of: GetServer) -> Iterator[Cable]:
    cable = Cable(server_of("postgresql").port)
    yield cable
    cable.close()


def test_a_look_with_nothing_new_brings_few_bytes(server_of: GetServer, cable: Cable) -> None:
    server = server_of("postgresql")
    url = server.create_database("hpo_bytes")
    db = open_database(url.replace(f":{server.port}/", f":{cable.port}/"), create=True)
    study = Study(db)
    study.pause_many(N_PAUSED)

    def n_bytes() -> int:
        before = cable.n_bytes
        study.ledger.study_status(study.study_id, with_leases=False)
        study.look()
        return cable.n_bytes - before

    assert n_bytes() > 50_000
    assert n_bytes() < 20_000
    db.dispose()
    server.drop_database("hpo_bytes")


def test_finished_trials_are_told_once(study: Study) -> None:
    study.pause_many(60)
    leases = study.claim(*[AssignmentRequest(None, 0, 1)] * 5)
    study.train(*leases, state="complete")
    states = {trial.state for trial in study.look().trials}
    assert states == {TrialState.RUNNING, TrialState.COMPLETE}
    assert study.look().trials == []


def test_whoever_looked_before_the_first_trial_sees_those_that_come(
    sqlite_database: Database,
) -> None:
    study = Study(sqlite_database)
    assert not study.look().leases
    paused = set(study.pause_many(3))
    assert {key for key, status in study.look().leases.items() if not status.is_held} == paused
    assert study.look().leases.keys() == study.ledger.study_status(study.study_id).leases.keys()
