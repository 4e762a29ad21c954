"""Studies that learn from others of their database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.report.overview import overview
from hpo.report.study_queries import find
from hpo.run.host import session_start
from hpo.run.host.session import RunOptions
from hpo.run.worker.transfer import portfolio_of
from hpo.search.model.portfolio import shipped
from hpo.search.optuna.study_search import Search
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.studies import studies, study_records
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration

RATE = {"low": 1e-4, "high": 1.0, "log": True}
MOMENTUM = {"low": 0.0, "high": 0.99}


def _spec(name: str, learn_from: str = "database", **space: Any) -> StudySpec:
    return StudySpec(
        name=name,
        task="digits-mlp",
        metric="val_accuracy",
        space=space or {"learning_rate": RATE, "momentum": MOMENTUM},
        budget={"trials": 12, "epochs": 3},
        sampler={"name": "auto", "learn_from": learn_from},
    )


def _finish(db: Database, spec: StudySpec, best: dict[str, float]) -> None:
    """Makes a study of 12 complete trials, of which the first one is the best."""
    record, _ = studies.create_or_join(db, spec, None)
    worker_id, ledger = kit.new_worker(db, record.study_id), Ledger(db)
    leases = ledger.claim(record.study_id, worker_id, 12).leases
    points = [best, *(dict.fromkeys(best, 0.1 + 0.05 * i) for i in range(11))]
    ids = [lease.trial_id for lease in leases]
    Search(spec, Storage(db)).give(dict(zip(ids, points, strict=True)))
    values = [0.9, *(0.5 - 0.01 * i for i in range(11))]
    ends = zip(leases, values, strict=True)
    ledger.settle([kit.outcome(lease, values=(value,)) for lease, value in ends])
    kit.set_state(db, record.study_id, "done", "budget")


def test_done_and_similar_studies_teach_all_workers_the_same(database: Database) -> None:
    point = {"learning_rate": 0.012, "momentum": 0.9}
    _finish(database, _spec("old"), point)
    _finish(database, _spec("other", x=MOMENTUM, y=MOMENTUM), {"x": 0.5, "y": 0.5})
    studies.create_or_join(database, _spec("unfinished"), None)
    record, _ = studies.create_or_join(database, _spec("new"), None)
    learnt = portfolio_of(database, record)
    assert learnt.sources == ("old",)
    assert learnt.points[0] == point
    _finish(database, _spec("later"), {"learning_rate": 0.9, "momentum": 0.1})
    assert portfolio_of(database, record) == learnt
    assert portfolio_of(database, study_records.load(database, "new")) == learnt
    assert overview(database, find(database, "new")).learnt_from == ("old",)


def test_one_study_teaches_by_its_name_done_or_not(database: Database) -> None:
    for name, rate in (("first", 0.02), ("second", 0.03)):
        _finish(database, _spec(name), {"learning_rate": rate, "momentum": 0.9})
    first = study_records.load(database, "first")
    kit.set_state(database, first.study_id, "stopped")
    record, _ = studies.create_or_join(database, _spec("new", "first"), None)
    learnt = portfolio_of(database, record)
    assert (learnt.sources, learnt.points[0]["learning_rate"]) == (("first",), 0.02)


def test_without_a_similar_study_the_usual_points_are_taken(database: Database) -> None:
    record, _ = studies.create_or_join(database, _spec("new"), None)
    assert overview(database, find(database, "new")).learnt_from is None
    assert portfolio_of(database, record).points == shipped().points
    assert overview(database, find(database, "new")).learnt_from == ()


def test_a_source_that_is_not_there_is_told_before_anything_is_created(tmp_path: Path) -> None:
    options = RunOptions(storage=f"sqlite:///{tmp_path / 'x.db'}", device="cpu", workers=1)
    db = open_database(options.storage, create=True)
    studies.create_or_join(db, _spec("digits-old", "none"), None)
    with pytest.raises(SpecError, match="no study 'digits-odl'; did you mean digits-old"):
        session_start.start(_spec("new", "digits-odl"), tmp_path, options)
    assert study_records.names(db) == ["digits-old"]
    db.dispose()
