"""Who trained what when, and what was spent, as a database with workers has it."""

from __future__ import annotations

import datetime

import optuna
import pytest
import sqlalchemy as sa

from hpo.optuna_internals import trial_id_of
from hpo.report.plots.rendering import chart_plot
from hpo.report.plots.spending_log import read_spending
from hpo.report.plots.timeline import timeline
from hpo.report.plots.work_log import read_work_log
from hpo.report.study_queries import find
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch
from hpo.store.ledger import workers
from hpo.store.optuna.storage import Storage
from hpo.store.rows import decision_log
from tests.kits.cli_kit import fill

pytestmark = pytest.mark.integration


def test_the_decision_log_says_who_trained_a_trial(database: Database) -> None:
    db = database
    study_id = fill(db)
    subject = find(db)
    second = workers.register(db, study_id, "cuda:1")
    # Trial 2 was given to the second worker from its third epoch on, after the first was lost.
    decision_log.add(db, study_id, 1, '{"granted": [[2, 0, 2, true, {}]]}')
    decision_log.add(db, study_id, second, '{"granted": [[2, 2, 4, false, {}]]}')
    ids = {t.number: trial_id_of(t) for t in Storage(db).get_all_trials(study_id)}
    later = sa.update(hpo_epoch).where(hpo_epoch.c.trial_id == ids[2], hpo_epoch.c.epoch > 2)
    with db.write() as conn:
        reported_at = db.now(conn) + datetime.timedelta(hours=1)
        conn.execute(later.values(attempt=2, reported_at=reported_at))
    log = read_work_log(db, subject)
    found = [(s.worker_id, s.attempt, s.n_epochs) for s in log.stretches if s.number == 2]
    assert found == [(1, 1, 2), (second, 2, 2)]
    assert {s.number: s.state for s in log.stretches}[5] == "RUNNING"
    assert log.workers[second].endswith(", cuda:1")
    assert (log.n_trials, log.n_shown) == (6, 6)
    assert read_work_log(db, subject, limit=2).n_shown == 2


def test_what_was_spent_is_counted_by_what_became_of_it(database: Database) -> None:
    db = database
    fill(db)
    log = read_spending(db, find(db))
    spent: dict[str, int] = {}
    for _, state, n, _ in log.epochs:
        spent[state] = spent.get(state, 0) + n
    assert spent == {"COMPLETE": 12, "PRUNED": 2, "FAIL": 2, "RUNNING": 2}
    assert sorted(state for _, state in log.ends) == ["COMPLETE"] * 3 + ["FAIL", "PRUNED"]
    assert log.n_trials == 10


def test_a_study_of_optuna_has_a_timeline_without_workers(database: Database) -> None:
    db = database
    study = optuna.create_study(study_name="theirs", storage=Storage(db))
    study.optimize(lambda trial: trial.suggest_float("<b>", 0, 1), n_trials=3)
    subject = find(db)
    chart = timeline(subject, read_work_log(db, subject))
    assert [text for _, text in chart.panels[0].rows] == ["trials"]
    for form in ("png", "html"):
        assert chart_plot(chart, form)
