"""The verbs of Storage that write many trials, and their fences."""

from __future__ import annotations

import gc
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.optuna.storage import Storage
from hpo.store.rows import trial_rows
from tests.kits import trial_kit

pytestmark = pytest.mark.integration

UNIT = FloatDistribution(0.0, 1.0)
OTHER = CategoricalDistribution(("a", "b"))


@pytest.fixture
def storage(database: Database) -> Storage:
    return Storage(database)


@pytest.fixture
def study_id(storage: Storage) -> int:
    return storage.create_new_study([StudyDirection.MINIMIZE], "s")


def test_batch_is_what_single_verbs_write(storage: Storage, study_id: int) -> None:
    together = trial_kit.create_trials(storage, study_id, 2)
    storage.set_params([(i, {"x": (0.25, UNIT), "y": (1.0, OTHER)}) for i in together])
    trial_kit.report(storage, [(i, step, step / 2) for i in together for step in (1, 2)])
    trial_kit.report(storage, [(i, 2, float("nan")) for i in together])
    trial_kit.finish(storage, [(i, TrialState.COMPLETE, [0.5]) for i in together])

    alone = storage.create_new_trial(study_id)
    storage.set_trial_param(alone, "x", 0.25, UNIT)
    storage.set_trial_param(alone, "y", 1.0, OTHER)
    for step, value in ((1, 0.5), (2, float("nan"))):
        storage.set_trial_intermediate_value(alone, step, value)
    storage.set_trial_state_values(alone, TrialState.COMPLETE, [0.5])

    trials = storage.get_all_trials(study_id)
    assert [trial.number for trial in trials] == [0, 1, 2]
    for trial in trials:
        assert trial.params == {"x": 0.25, "y": "b"}
        assert list(trial.params) == ["x", "y"]
        assert trial.distributions == {"x": UNIT, "y": OTHER}
        assert str(sorted(trial.intermediate_values.items())) == "[(1, 0.5), (2, nan)]"
        assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
        start, end = trial.datetime_start, trial.datetime_complete
        assert start is not None
        assert end is not None
        assert start <= end


def test_infinite_values_survive(storage: Storage, study_id: int) -> None:
    ids = trial_kit.create_trials(storage, study_id, 2)
    trial_kit.report(storage, [(ids[0], 1, float("inf")), (ids[0], 2, float("-inf"))])
    infinities = [float("inf"), float("-inf")]
    trial_kit.finish(
        storage, [(i, TrialState.COMPLETE, [v]) for i, v in zip(ids, infinities, strict=True)]
    )
    trials = storage.get_all_trials(study_id)
    assert [t.value for t in trials] == infinities
    assert trials[0].intermediate_values == {1: float("inf"), 2: float("-inf")}


@pytest.mark.parametrize("verb", ["set_params", "set_attrs"])
def test_one_finished_trial_refuses_the_whole_batch(
    storage: Storage, study_id: int, verb: str
) -> None:
    ids = trial_kit.create_trials(storage, study_id, 3)
    storage.set_params([(ids[0], {"x": (0.5, UNIT)})])
    storage.set_trial_state_values(ids[1], TrialState.FAIL)
    before = storage.get_all_trials(study_id)
    batches: dict[str, list[Any]] = {
        "set_params": [(i, {"x": (0.1, UNIT)}) for i in ids],
        "set_attrs": [(i, "note", "text") for i in ids],
    }
    write: Callable[[list[Any]], None] = (
        partial(storage.set_params, []) if verb == "set_attrs" else storage.set_params
    )
    with pytest.raises(UpdateFinishedTrialError, match="trial 1 "):
        write(batches[verb])
    assert storage.get_all_trials(study_id) == before

    unknown = [(i + 1000, *rest) for i, *rest in batches[verb]]
    with pytest.raises(KeyError):
        write(unknown)


def test_params_and_attributes_come_together_or_not_at_all(storage: Storage, study_id: int) -> None:
    going, over = trial_kit.create_trials(storage, study_id, 2)
    notes = [(going, "a", [1]), (going, "b", "text")]
    storage.set_params([(going, {"x": (0.1, UNIT)})], notes)
    storage.set_params([], [(going, "a", [2])])
    trial = storage.get_trial(going)
    assert (trial.params, trial.system_attrs) == ({"x": 0.1}, {"a": [2], "b": "text"})
    storage.set_trial_state_values(over, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_params([(going, {"y": (0.5, UNIT)})], [(over, "a", 1)])
    assert storage.get_trial(going).params == {"x": 0.1}


def test_incompatible_distribution_refuses_the_whole_batch(storage: Storage, study_id: int) -> None:
    ids = trial_kit.create_trials(storage, study_id, 2)
    items: list[tuple[int, dict[str, tuple[float, BaseDistribution]]]] = [
        (ids[0], {"x": (0.1, UNIT)}),
        (ids[1], {"x": (0.0, OTHER)}),
    ]
    with pytest.raises(ValueError, match="distribution kind"):
        storage.set_params(items)
    assert [t.params for t in storage.get_all_trials(study_id)] == [{}, {}]


def test_a_param_that_stands_is_kept(storage: Storage, study_id: int) -> None:
    (trial_id,) = trial_kit.create_trials(storage, study_id, 1)
    storage.set_params([(trial_id, {"x": (0.1, UNIT)})])
    storage.set_params([(trial_id, {"x": (0.2, UNIT), "y": (0.3, UNIT)})])
    storage.set_trial_param(trial_id, "x", 0.4, UNIT)
    assert storage.get_trial(trial_id).params == {"x": 0.1, "y": 0.3}


def test_numbers_are_consecutive_under_concurrency(
    database: Database, storage: Storage, study_id: int
) -> None:
    def create(n: int) -> list[int]:
        return trial_kit.create_trials(Storage(database), study_id, n)

    with ThreadPoolExecutor(4) as pool:
        created = [i for ids in pool.map(create, [1, 3] * 10) for i in ids]
    trials = storage.get_all_trials(study_id)
    assert [t.number for t in trials] == list(range(40))
    assert sorted(created) == [t._trial_id for t in trials]


def test_one_of_many_starts_a_waiting_trial(storage: Storage, study_id: int) -> None:
    template = optuna.trial.create_trial(state=TrialState.WAITING)
    waiting = [storage.create_new_trial(study_id, template) for _ in range(10)]
    started: list[int] = []

    def start() -> None:
        running = TrialState.RUNNING
        started.extend(i for i in waiting if storage.set_trial_state_values(i, running))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == waiting


def test_nothing_is_added_to_a_trial_that_is_being_finished(
    database: Database, storage: Storage, study_id: int
) -> None:
    """A report that waits for a concurrent finish is refused, not written after it."""
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    trial_id = storage.create_new_trial(study_id)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            now = optuna_tables.utc_now()
            trial_rows.change_state(connection, [trial_id], TrialState.FAIL, now)
            late = pool.submit(storage.set_trial_intermediate_value, trial_id, 1, 0.5)
            batch = pytest.raises(TimeoutError)
            with batch:
                late.result(timeout=0.3)
        with pytest.raises(UpdateFinishedTrialError):
            late.result(timeout=10)
    assert storage.get_trial(trial_id).intermediate_values == {}


def test_a_pickled_copy_works_on_its_own(storage: Storage, study_id: int) -> None:
    copy = pickle.loads(pickle.dumps(storage))
    trial_id = copy.create_new_trial(study_id)
    assert storage.get_trial(trial_id).number == 0
    del copy
    # The copy's connections are its own, and closed with it.
    gc.collect()


def test_a_taken_name_is_optunas_error(storage: Storage, study_id: int) -> None:
    assert storage.get_study_name_from_id(study_id) == "s"
    with pytest.raises(DuplicatedStudyError):
        storage.create_new_study([StudyDirection.MINIMIZE], "s")


def test_database_errors_are_optunas(database_url: str) -> None:
    # A database of its own: what is dropped here would be missing in other tests.
    database = open_database(database_url, create=True)
    storage = Storage(database)
    trial_id = storage.create_new_trial(storage.create_new_study([StudyDirection.MINIMIZE]))
    with database.write() as connection:
        connection.execute(sa.text("DROP TABLE trial_user_attributes"))
    with pytest.raises(StorageInternalError) as caught:
        storage.set_trial_user_attr(trial_id, "key", 1)
    assert caught.value.__cause__ is not None
    database.dispose()


def test_deleting_a_study_deletes_its_rows(
    database: Database, storage: Storage, study_id: int
) -> None:
    keep = storage.create_new_study([StudyDirection.MAXIMIZE], "keep")
    for study in (study_id, keep):
        (trial_id,) = trial_kit.create_trials(storage, study, 1)
        storage.set_params([(trial_id, {"x": (0.5, UNIT)})])
        trial_kit.report(storage, [(trial_id, 1, 0.5)])
        storage.set_trial_user_attr(trial_id, "key", 1)
        storage.set_trial_system_attr(trial_id, "key", 1)
        trial_kit.finish(storage, [(trial_id, TrialState.COMPLETE, [0.5])])
    storage.delete_study(study_id)
    with database.read() as connection:
        for table in optuna_tables.metadata.sorted_tables:
            if table.name not in ("trial_heartbeats", "version_info"):
                count = connection.execute(sa.select(sa.func.count()).select_from(table))
                expected = 0 if table.name.startswith("study_") and "attr" in table.name else 1
                assert count.scalar_one() == expected, table.name
