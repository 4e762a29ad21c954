"""Our storage and Optuna's own work on one study at once, and read the same."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from hpo.store.db import optuna_schema, optuna_tables
from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage

pytestmark = pytest.mark.integration


@pytest.fixture
def theirs(database: Database) -> Iterator[RDBStorage]:
    theirs = RDBStorage(database.url)
    yield theirs
    theirs.remove_session()
    theirs.engine.dispose()


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 1e-3, 1.0, log=True)
    kind = trial.suggest_categorical("kind", ("a", "b", None))
    n = trial.suggest_int("n", 1, 9, step=2) if kind == "a" else 0
    trial.set_user_attr("kind", kind)
    for step in range(3):
        trial.report(x / (step + 1), step)
    if trial.number % 5 == 4:
        raise optuna.TrialPruned
    return x + n


def test_both_work_on_one_study(database: Database, theirs: RDBStorage) -> None:
    ours = Storage(database)
    sampler = optuna.samplers.TPESampler(seed=1, n_startup_trials=5)
    optuna.create_study(storage=ours, study_name="both", sampler=sampler)

    def optimize(storage: Storage | RDBStorage) -> None:
        study = optuna.load_study(
            study_name="both",
            storage=storage,
            sampler=optuna.samplers.TPESampler(seed=2, n_startup_trials=5),
        )
        study.optimize(objective, n_trials=10)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(optimize, storage) for storage in (ours, theirs)]:
            done.result()
    study_id = ours.get_study_id_from_name("both")
    read_by_us = ours.get_all_trials(study_id)
    read_by_them = theirs.get_all_trials(study_id)
    assert [t.number for t in read_by_us] == list(range(20))
    assert read_by_us == read_by_them
    assert Storage(database).get_all_trials(study_id) == read_by_them
    # Both workers begin at the same points, and of equal values Optuna's storage returns any.
    assert ours.get_best_trial(study_id).value == theirs.get_best_trial(study_id).value
    assert sum(t.state is TrialState.PRUNED for t in read_by_us) == 4


def test_each_reads_what_the_other_wrote(database: Database, theirs: RDBStorage) -> None:
    ours = Storage(database)
    minimize = [optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE]
    a = ours.create_new_study(minimize, "a")
    b = theirs.create_new_study(minimize, "b")
    for writer, study_id in ((ours, a), (theirs, b)):
        writer.set_study_user_attr(study_id, "user", {"deep": [1, None]})
        writer.set_study_system_attr(study_id, "system", 1.5)
        trial_id = writer.create_new_trial(study_id)
        writer.set_trial_param(trial_id, "x", 0.5, FloatDistribution(0, 1))
        writer.set_trial_param(trial_id, "c", 1, CategoricalDistribution((1, True, "1")))
        for step, value in enumerate((0.5, float("inf"), float("-inf"))):
            writer.set_trial_intermediate_value(trial_id, step, value)
        writer.set_trial_user_attr(trial_id, "user", "text")
        writer.set_trial_system_attr(trial_id, "system", [1, 2])
        writer.set_trial_state_values(trial_id, TrialState.COMPLETE, [float("inf"), 1e-300])
        writer.create_new_trial(study_id, optuna.trial.create_trial(state=TrialState.WAITING))
        for reader in (ours, theirs):
            assert reader.get_all_trials(study_id) == writer.get_all_trials(study_id)
            assert reader.get_trial(trial_id) == writer.get_trial(trial_id)
            assert reader.get_study_directions(study_id) == minimize
    ours_seen, theirs_seen = (
        [
            (s.study_name, s.directions, s.user_attrs, s.system_attrs)
            for s in reader.get_all_studies()
        ]
        for reader in (ours, theirs)
    )
    assert ours_seen == theirs_seen
    theirs.delete_study(a)
    ours.delete_study(b)
    assert ours.get_all_studies() == theirs.get_all_studies() == []


def test_optuna_opens_the_url(database: Database) -> None:
    storage = Storage(database)
    optuna.create_study(storage=storage, study_name="s").optimize(objective, n_trials=3)
    study = optuna.load_study(study_name="s", storage=database.url)
    assert [t.params for t in study.trials] == [
        t.params for t in storage.get_all_trials(study._study_id)
    ]
    cached: Any = study._storage
    assert cached._backend.get_current_version() == optuna_schema.OPTUNA_REVISION
    cached._backend.engine.dispose()


def test_parts_of_optuna_that_we_rely_on() -> None:
    """Optuna's private parts that hpo uses; a new Optuna that changes them fails here."""
    columns = {
        table.name: [column.name for column in table.columns]
        for table in optuna_tables.metadata.sorted_tables
    }
    assert columns["trials"] == [
        "trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"
    ]  # fmt: skip
    assert set(columns) | {"alembic_version"} == optuna_tables.TABLE_NAMES
    assert len(columns) == 12
    assert {t.name for t in optuna_tables.ValueType} == {"FINITE", "INF_POS", "INF_NEG"}
    assert optuna_schema._known_revisions()[0] == optuna_schema.OPTUNA_REVISION
