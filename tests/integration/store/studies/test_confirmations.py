"""Confirmations: linked for good, each run once, with its seed also after a retry."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import transfer_sources
from hpo.store.studies import confirmations, queueing, renaming, studies, study_records
from hpo.store.studies.confirmations import SeedRun
from hpo.store.studies.study_records import StudyRecord
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration

PARAMS = {4: {"learning_rate": 0.1}, 2: {"learning_rate": 0.2}}


def _confirmed(db: Database) -> tuple[StudyRecord, StudyRecord]:
    """Makes a study and its confirmation."""
    kit.new_study(db)
    study = study_records.load(db, "s")
    spec = kit.spec(trials=4).model_copy(update={"name": "s-confirm", "seed": 7})
    link = confirmations.link_to(study)
    return study, studies.create_or_join(db, spec, None, attrs=link)[0]


def _runs(db: Database, study: StudyRecord) -> list[SeedRun]:
    with db.read() as conn:
        return list(confirmations.runs_of(conn, study.study_id).values())


def test_only_runs_that_are_lacking_are_added(database: Database) -> None:
    _, own = _confirmed(database)
    assert confirmations.add_runs(database, own.study_id, PARAMS, [11, 12]) == 4
    assert confirmations.add_runs(database, own.study_id, PARAMS, [11, 12]) == 0
    assert confirmations.add_runs(database, own.study_id, PARAMS | {7: {}}, [11, 12, 13]) == 5
    assert len(_runs(database, own)) == len(set(_runs(database, own))) == 9
    # The runs of one trial follow one another.
    assert _runs(database, own)[:4] == [SeedRun(n, s) for n in (4, 2) for s in (11, 12)]
    assert study_records.load(database, "s-confirm").budget.trials == 9
    assert confirmations.most_runs(database, own.study_id) == 3
    assert confirmations.seed_of(database, own.study_id, 3) == 12
    assert confirmations.seed_of(database, own.study_id, 99) is None


def test_a_confirmation_that_was_done_continues_with_more_runs(database: Database) -> None:
    _, own = _confirmed(database)
    confirmations.add_runs(database, own.study_id, {4: PARAMS[4]}, [11])
    worker_id, ledger = kit.new_worker(database, own.study_id), Ledger(database)
    (lease,) = ledger.claim(own.study_id, worker_id, 1).leases
    ledger.settle([kit.outcome(lease, values=(0.5,))])
    assert ledger.claim(own.study_id, worker_id, 1).exhausted
    assert study_records.load(database, "s-confirm").state == "done"
    confirmations.add_runs(database, own.study_id, {4: PARAMS[4]}, [11, 12])
    assert study_records.load(database, "s-confirm").state == "active"
    (lease,) = ledger.claim(own.study_id, worker_id, 5).leases
    assert confirmations.seed_of(database, own.study_id, lease.number) == 12


def test_a_failed_run_is_retried_with_its_seed(database: Database) -> None:
    _, own = _confirmed(database)
    confirmations.add_runs(database, own.study_id, {4: PARAMS[4]}, [11, 12])
    worker_id, ledger = kit.new_worker(database, own.study_id), Ledger(database)
    lease, _ = ledger.claim(own.study_id, worker_id, 2).leases
    ledger.settle([kit.outcome(lease, "failed", reason="user_code")])
    assert queueing.retry(database, own.study_id) == {0: 2}
    assert confirmations.seed_of(database, own.study_id, 2) == 11
    assert confirmations.add_runs(database, own.study_id, {4: PARAMS[4]}, [11, 12]) == 0
    assert study_records.load(database, "s-confirm").budget.trials == 2


def test_the_link_outlives_names(database: Database) -> None:
    study, own = _confirmed(database)
    renaming.rename(database, study.study_id, "other")
    renaming.rename(database, own.study_id, "its runs")
    renamed = study_records.load(database, "other")
    with database.read() as conn:
        assert confirmations.find(conn, renamed.created_at) == own.study_id
        assert confirmations.is_confirmation(conn, own.study_id)
        assert not confirmations.is_confirmation(conn, study.study_id)
    studies.delete(database, own.study_id)
    with database.read() as conn:
        assert confirmations.find(conn, renamed.created_at) is None


def test_no_search_learns_from_a_confirmation(database: Database) -> None:
    study, own = _confirmed(database)
    done = sa.update(hpo_study).values(state="done")
    database.transaction(lambda conn: conn.execute(done) and None)
    (found,) = transfer_sources.specs(database)
    assert 'name = "s"' in found
    assert own.study_id != study.study_id
