"""Edits in the dashboard, on studies of hpo and of plain Optuna."""

from __future__ import annotations

import json
from typing import Any

import optuna
import optuna_dashboard
import pytest
import sqlalchemy as sa

from hpo.dashboard.edits import Edits
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger.leases import EpochRow
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from tests.kits.cli_kit import fill
from tests.kits.wsgi_kit import Response, ask

pytestmark = pytest.mark.integration


def _edit(db: Database, path: str, **body: Any) -> Response:
    app = Edits(db, optuna_dashboard.wsgi(Storage(db)))
    headers = {"Content-Type": "application/json"}
    return ask(app, "POST", path, headers=headers, body=json.dumps(body))


def _running(db: Database) -> tuple[int, int]:
    """Returns id and token of the trial that a worker trains."""
    query = (
        sa.select(hpo_lease.c.trial_id, hpo_lease.c.token)
        .join(trials, trials.c.trial_id == hpo_lease.c.trial_id)
        .where(trials.c.state == "RUNNING")
    )
    with db.read() as conn:
        trial_id, token = conn.execute(query).one()
        return trial_id, token


def _report(db: Database, trial_id: int, token: int) -> set[int]:
    """Reports an epoch as the trial's worker does; returns the trials whose lease is lost."""
    row = EpochRow(trial_id, token, 3, {"val_accuracy": 0.5}, 0.5, None, 1.0, None)
    return Ledger(db).report([row])


@pytest.mark.parametrize(
    "told", [{"state": "fail"}, {"state": "Complete", "values": [1.0]}, {"state": "x"}, {}]
)
def test_a_trial_of_a_worker_is_ended_by_nobody_else(
    database: Database, told: dict[str, Any]
) -> None:
    fill(database)
    trial_id, token = _running(database)
    answer = _edit(database, f"/api/trials/{trial_id}/tell", **told)
    assert answer.status == 409
    assert "trial 5 of digits" in json.loads(answer.body)["reason"]
    assert _report(database, trial_id, token) == set()
    assert _running(database) == (trial_id, token)


def test_trials_of_optunas_own_studies_are_told(database: Database) -> None:
    study = optuna.create_study(study_name="own", storage=Storage(database))
    trial = study.ask()
    answer = _edit(database, f"/api/trials/{trial._trial_id}/tell", state="fail")
    assert answer.status == 204
    assert study.trials[0].state is optuna.trial.TrialState.FAIL


def test_a_lease_survives_a_new_name_and_notes(database: Database) -> None:
    study_id = fill(database)
    trial_id, token = _running(database)
    assert _edit(database, f"/api/studies/{study_id}/rename", study_name="b").status == 201
    assert _edit(database, f"/api/trials/{trial_id}/user-attrs", user_attrs={"a": 1}).status == 204
    assert _running(database) == (trial_id, token)
    assert _report(database, trial_id, token) == set()
