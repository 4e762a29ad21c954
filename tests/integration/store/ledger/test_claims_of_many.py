"""Claims of many processes: exactly the budget, nothing twice, whichever of them dies."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_event, hpo_lease
from hpo.store.db.opening import open_database
from hpo.store.studies import study_records
from tests.kits import crowd
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration


def test_sixteen_processes_run_exactly_the_budget(database_url: str) -> None:
    """They also create the schema and the study, all at once, on a database that is empty."""
    codes = crowd.join(crowd.start(16, database_url, "s", n_trials=500))

    assert codes == [0] * 16
    db = open_database(database_url)
    study = study_records.load(db, "s")
    assert kit.states(db, study.study_id) == ["COMPLETE"] * 500
    assert (study.state, study.reason) == ("done", "budget")
    assert crowd.join(crowd.start(16, database_url, "s", n_trials=500)) == [0] * 16
    assert kit.states(db, study.study_id) == ["COMPLETE"] * 500
    _assert_consistent(db, 500)
    db.dispose()


def test_trials_of_killed_processes_are_continued(database: Database) -> None:
    assert crowd.join(crowd.start(2, database.url, "s", n_trials=60, dies=True)) == [-9] * 2
    assert crowd.join(crowd.start(6, database.url, "s", n_trials=60)) == [0] * 6

    study = study_records.load(database, "s")
    assert kit.states(database, study.study_id) == ["COMPLETE"] * 60
    lost = sa.select(hpo_event.c.trial_id).where(hpo_event.c.kind == "lost")
    again = sa.select(hpo_epoch.c.trial_id).where(hpo_epoch.c.attempt > 1)
    with database.read() as conn:
        lost_ids, continued_ids = set(conn.scalars(lost)), set(conn.scalars(again))
    assert lost_ids == continued_ids
    assert lost_ids
    _assert_consistent(database, 60)


def _assert_consistent(db: Database, n_trials: int) -> None:
    trials = optuna_tables.trials.c
    with db.read() as conn:
        numbers = list(conn.scalars(sa.select(trials.number).order_by(trials.number)))
        n_epochs = conn.scalar(sa.select(sa.func.count()).select_from(hpo_epoch))
        n_leases = conn.scalar(sa.select(sa.func.count()).select_from(hpo_lease))
        n_steps = conn.scalar(
            sa.select(sa.func.count()).select_from(optuna_tables.trial_intermediate_values)
        )
        n_values = conn.scalar(sa.select(sa.func.count()).select_from(optuna_tables.trial_values))
    assert numbers == list(range(n_trials))
    assert (n_epochs, n_steps, n_values, n_leases) == (2 * n_trials, 2 * n_trials, n_trials, 0)
