"""Storage reads only what may have changed, and never answers from a cache that is wrong."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.optuna import trial_cache, trial_caches
from hpo.store.optuna.storage import Storage
from hpo.store.rows import trial_reader
from hpo.store.rows.stored_trial import StoredTrial
from tests.kits import trial_kit

pytestmark = pytest.mark.integration

UNIT = FloatDistribution(0.0, 1.0)
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Statements:
    """Counts the statements of an engine, transactions' brackets left out."""

    def __init__(self, engine: sa.Engine) -> None:
        self.seen: list[str] = []
        sa.event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, _conn: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            self.seen.append(statement)

    def take(self) -> int:
        """Returns how many there were since the last call."""
        n, self.seen = len(self.seen), []
        return n


@pytest.fixture
def other(database: Database) -> Storage:
    """A storage that stands for another process: it shares no cache."""
    return Storage(database)


@pytest.fixture
def storage(database: Database) -> Storage:
    return Storage(database)


@pytest.fixture
def statements(database: Database, other: Storage) -> Statements:
    return Statements(database.engine)


def finish_trials(storage: Storage, study_id: int, n: int, value: float = 0.5) -> list[int]:
    ids = trial_kit.create_trials(storage, study_id, n)
    storage.set_params([(i, {"x": (value, UNIT)}) for i in ids])
    trial_kit.report(storage, [(i, step, value) for i in ids for step in (1, 2)])
    trial_kit.finish(storage, [(i, TrialState.COMPLETE, [value]) for i in ids])
    return ids


def new_study(storage: Storage, name: str = "s") -> int:
    return storage.create_new_study([StudyDirection.MINIMIZE], name)


def test_nothing_new_costs_one_statement(
    storage: Storage, other: Storage, statements: Statements
) -> None:
    study_id = new_study(other)
    statements.take()
    assert storage.get_all_trials(study_id) == []
    assert statements.take() == 2

    finish_trials(other, study_id, 100)
    first = storage.get_all_trials(study_id, deepcopy=False)
    statements.take()
    second = storage.get_all_trials(study_id, deepcopy=False)
    assert statements.take() == 1
    assert [id(t) for t in first] == [id(t) for t in second]
    assert storage.get_n_trials(study_id, TrialState.COMPLETE) == 100
    assert statements.take() == 1


def test_news_cost_one_statement_more_however_many(
    storage: Storage, other: Storage, statements: Statements
) -> None:
    study_id = new_study(other)
    finish_trials(other, study_id, 5)
    storage.get_all_trials(study_id)
    n_known = 5
    for n_finished, n_running in ((1, 0), (0, 1), (3, 2), (100, 40)):
        finish_trials(other, study_id, n_finished)
        trial_kit.create_trials(other, study_id, n_running)
        n_known += n_finished + n_running
        statements.take()
        assert len(storage.get_all_trials(study_id)) == n_known
        assert statements.take() == 2


def test_unfinished_trials_are_read_only_for_those_who_want_them(
    storage: Storage, other: Storage, statements: Statements
) -> None:
    study_id = new_study(other)
    ids = trial_kit.create_trials(other, study_id, 3)
    storage.get_all_trials(study_id)
    trial_kit.report(other, [(i, 1, 0.5) for i in ids])
    statements.take()
    assert storage.get_all_trials(study_id, states=FINISHED) == []
    assert statements.take() == 1
    seen = storage.get_all_trials(study_id, deepcopy=False)
    assert [t.intermediate_values for t in seen] == [{1: 0.5}] * 3
    # A value overwritten in place is seen, and what was returned before stays as it was.
    trial_kit.report(other, [(ids[0], 1, 0.75)])
    again = storage.get_all_trials(study_id, deepcopy=False)
    assert again[0].intermediate_values == {1: 0.75}
    assert seen[0].intermediate_values == {1: 0.5}


def test_changed_states_are_seen(storage: Storage, other: Storage) -> None:
    study_id = new_study(other)
    ids = trial_kit.create_trials(other, study_id, 200)
    storage.get_all_trials(study_id)
    trial_kit.finish(
        other, [(ids[0], TrialState.PRUNED, [0.1]), (ids[-1], TrialState.COMPLETE, [0.2])]
    )
    seen = storage.get_all_trials(study_id, states=FINISHED)
    assert [(t.number, t.value) for t in seen] == [(0, 0.1), (199, 0.2)]
    assert storage.get_n_trials(study_id, TrialState.RUNNING) == 198


def test_more_unfinished_trials_than_one_statement_names(
    storage: Storage, other: Storage, statements: Statements
) -> None:
    study_id = new_study(other)
    n = trial_reader.CHUNK + 50
    ids = trial_kit.create_trials(other, study_id, n)
    storage.get_all_trials(study_id)
    trial_kit.finish(other, [(ids[0], TrialState.FAIL, None)])
    finish_trials(other, study_id, 1)
    states = [t.state for t in storage.get_all_trials(study_id)]
    assert [states[0], states[1], states[-1]] == [*states[:1], TrialState.RUNNING, states[-1]]
    assert states[0] is TrialState.FAIL
    assert states[-1] is TrialState.COMPLETE


def insert_trial(connection: sa.Connection, study_id: int, number: int) -> None:
    now = optuna_tables.utc_now()
    connection.execute(
        optuna_tables.trials.insert().values(
            study_id=study_id,
            number=number,
            state=TrialState.FAIL,
            datetime_start=now,
            datetime_complete=now,
        )
    )


def test_rows_that_become_visible_late_are_found(
    database: Database, storage: Storage, other: Storage
) -> None:
    """A trial with a lower id is committed after one with a higher id was read."""
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time: commits are in the order of ids")
    study_id = new_study(other)
    finish_trials(other, study_id, 3)
    assert len(storage.get_all_trials(study_id)) == 3
    with database.write() as slow:
        insert_trial(slow, study_id, 3)
        with database.write() as fast:
            insert_trial(fast, study_id, 4)
        assert [t.number for t in storage.get_all_trials(study_id)] == [0, 1, 2, 4]
        with database.write() as fast:
            for number in range(5, 5 + 2 * trial_cache.YOUNG):
                insert_trial(fast, study_id, number)
        storage.get_all_trials(study_id)
    seen = storage.get_all_trials(study_id)
    assert [t.number for t in seen] == list(range(5 + 2 * trial_cache.YOUNG))
    assert seen[3]._trial_id < seen[4]._trial_id


def test_a_deleted_study_is_noticed(storage: Storage, other: Storage) -> None:
    study_id = new_study(other)
    (trial_id, *_) = finish_trials(other, study_id, 3)
    storage.get_all_trials(study_id)
    other.delete_study(study_id)
    with pytest.raises(KeyError):
        storage.get_all_trials(study_id)
    with pytest.raises(KeyError):
        storage.get_n_trials(study_id)
    with pytest.raises(KeyError):
        storage.get_trial(trial_id)
    with pytest.raises(KeyError):
        storage.get_study_directions(study_id)


def test_reused_ids_are_noticed(storage: Storage, other: Storage) -> None:
    """SQLite gives the ids of a deleted study and its trials to the next."""
    study_id = new_study(other)
    finish_trials(other, study_id, 50, value=0.25)
    storage.get_all_trials(study_id)
    storage.set_trial_param(storage.create_new_trial(study_id), "x", 0.5, UNIT)
    other.delete_study(study_id)
    again = new_study(other)
    assert storage.get_n_trials(again) == 0
    ids = finish_trials(other, again, 51, value=0.75)
    assert {t.value for t in storage.get_all_trials(again)} == {0.75}
    assert storage.get_trial(ids[0]).value == 0.75
    assert storage.get_best_trial(again).params == {"x": 0.75}


def test_distributions_of_a_deleted_study_do_not_count(storage: Storage, other: Storage) -> None:
    study_id = new_study(other)
    storage.set_trial_param(storage.create_new_trial(study_id), "x", 0.5, UNIT)
    other.delete_study(study_id)
    again = new_study(other)
    trial_id = other.create_new_trial(again)
    log = FloatDistribution(0.1, 1.0, log=True)
    storage.set_trial_param(trial_id, "x", 0.5, log)
    assert other.get_trial(trial_id).distributions == {"x": log}


def test_intermediate_values_of_many_trials_come_when_asked_for(
    storage: Storage, other: Storage, statements: Statements
) -> None:
    study_id = new_study(other)
    n = trial_cache.EAGER + 10
    finish_trials(other, study_id, n)
    statements.take()
    trials = storage.get_all_trials(study_id, deepcopy=False)
    assert not any("intermediate_values" in trial.__dict__ for trial in trials)
    assert statements.take() == 2
    assert all(trial.intermediate_values == {1: 0.5, 2: 0.5} for trial in trials)
    assert statements.take() == 2


@pytest.mark.parametrize("use", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_deferred_trial_equals_one_read_at_once(
    storage: Storage, other: Storage, use: object
) -> None:
    study_id = new_study(other)
    ids = finish_trials(other, study_id, trial_cache.EAGER + 1)
    deferred = storage.get_all_trials(study_id, deepcopy=False)
    assert callable(use)
    assert use(deferred[0]) == other.get_trial(ids[0])
    assert other.get_trial(ids[1]) == deferred[1]
    assert "intermediate_values={1: 0.5, 2: 0.5}" in repr(deferred[2])
    assert storage.get_all_trials(study_id)[3] == other.get_trial(ids[3])


@pytest.mark.parametrize("n_trials", [1, trial_cache.EAGER + 1])
def test_curves_are_in_the_order_of_their_steps(
    storage: Storage, other: Storage, n_trials: int
) -> None:
    study_id = new_study(other)
    ids = trial_kit.create_trials(other, study_id, n_trials)
    for step in (3, 1, 2):
        trial_kit.report(other, [(i, step, 0.5) for i in ids])
    trial_kit.finish(other, [(i, TrialState.COMPLETE, [0.5]) for i in ids])
    trials = storage.get_all_trials(study_id, deepcopy=False)
    assert [list(t.intermediate_values) for t in trials] == [[1, 2, 3]] * n_trials


def test_values_are_read_for_trials_that_ended_alike(storage: Storage, other: Storage) -> None:
    study_id = new_study(other)
    ids = trial_kit.create_trials(other, study_id, 2 * trial_cache.EAGER)
    trial_kit.report(other, [(i, 1, 0.5) for i in ids])
    ends = (TrialState.PRUNED, TrialState.COMPLETE)
    trial_kit.finish(other, [(i, ends[n % 2], [0.5]) for n, i in enumerate(ids)])
    trials = storage.get_all_trials(study_id, deepcopy=False)
    assert trials[0].intermediate_values == {1: 0.5}
    deferred = [t.is_deferred for t in trials if isinstance(t, StoredTrial)]
    assert deferred == [False, True] * trial_cache.EAGER


def test_the_collector_is_as_it_was_after_a_read(storage: Storage) -> None:
    study_id = new_study(storage)
    storage.get_all_trials(study_id)
    assert gc.isenabled()
    gc.disable()
    try:
        storage.get_all_trials(study_id)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_intermediate_values_of_a_deleted_study_are_not_made_up(
    storage: Storage, other: Storage
) -> None:
    study_id = new_study(other)
    finish_trials(other, study_id, trial_cache.EAGER + 1, value=0.25)
    trials = storage.get_all_trials(study_id, deepcopy=False)
    other.delete_study(study_id)
    finish_trials(other, new_study(other), trial_cache.EAGER + 1, value=0.75)
    with pytest.raises(KeyError):
        _ = trials[0].intermediate_values


def test_copies_share_nothing_changeable(storage: Storage) -> None:
    study_id = new_study(storage)
    (trial_id,) = finish_trials(storage, study_id, 1)
    running = storage.create_new_trial(study_id)
    storage.set_trial_user_attr(running, "list", [{"deep": 1}])
    before = storage.get_all_trials(study_id)
    for trial in storage.get_all_trials(study_id):
        trial.params["x"] = 9.0
        trial.distributions.clear()
        trial.intermediate_values[1] = 9.0
        trial.user_attrs.setdefault("list", [{}])[0]["deep"] = 9
        trial.values = [9.0]
    assert storage.get_all_trials(study_id) == before
    assert storage.get_trial(trial_id).params == {"x": 0.5}


def test_few_studies_are_kept_in_memory(storage: Storage, statements: Statements) -> None:
    study_ids = [new_study(storage, f"s{i}") for i in range(trial_caches.MAX_STUDIES + 1)]
    for study_id in study_ids:
        finish_trials(storage, study_id, 1)
        storage.get_all_trials(study_id)
    statements.take()
    storage.get_all_trials(study_ids[-1])
    assert statements.take() == 1
    storage.get_all_trials(study_ids[0])
    assert statements.take() == 2


def test_threads_share_a_storage(storage: Storage, other: Storage) -> None:
    study_id = new_study(other)

    def work(_: int) -> None:
        for _ in range(5):
            (trial_id,) = finish_trials(storage, study_id, 1)
            trials = storage.get_all_trials(study_id, deepcopy=False)
            assert trial_id in {t._trial_id for t in trials}
            assert [t.number for t in trials] == list(range(len(trials)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert storage.get_all_trials(study_id) == other.get_all_trials(study_id)
    assert len(storage.get_all_trials(study_id)) == 20


def test_numbers_and_names_come_back_exactly(
    database: Database, storage: Storage, plain_optuna: Callable[[str], Any]
) -> None:
    study_id = new_study(storage)
    numbers = [5e-324, 1.7976931348623157e308, 0.1 + 0.2, -1.5, 1.0, 1e22, 123456789.123456789]
    everything = FloatDistribution(-1.7976931348623157e308, 1.7976931348623157e308)
    names = ["x", 'a "quoted" one', "größe\\n,;", "x|y:[1]", "a, b"]
    trial_id = storage.create_new_trial(study_id)
    storage.set_params(
        [(trial_id, {name: (numbers[i], everything) for i, name in enumerate(names)})]
    )
    steps = dict(enumerate([*numbers, float("inf"), float("-inf"), float("nan")]))
    trial_kit.report(storage, [(trial_id, *step) for step in steps.items()])
    trial_kit.finish(storage, [(trial_id, TrialState.PRUNED, [0.1 + 0.2])])
    trial = Storage(database).get_trial(trial_id)
    assert list(trial.params.items()) == [(name, numbers[i]) for i, name in enumerate(names)]
    # As text, for NaN is not itself.
    assert repr(trial.intermediate_values) == repr(steps)
    assert repr(trial.values) == repr([0.1 + 0.2])
    (theirs,) = plain_optuna("s").trials
    assert theirs.params == trial.params
    assert repr(sorted(theirs.intermediate_values.items())) == repr(list(steps.items()))
    (deferred,) = Storage(database).get_all_trials(study_id)
    assert repr(deferred.intermediate_values) == repr(steps)


def test_lists_that_the_server_has_cut_are_read_row_by_row(
    database: Database, storage: Storage
) -> None:
    if database.dialect != "mysql":
        pytest.skip("only there do rows come in lists")
    study_id = new_study(storage)
    trial_id = storage.create_new_trial(study_id)
    storage.set_params([(trial_id, {f"x{i}": (0.5, UNIT) for i in range(9)})])
    steps = {step: step / 7 for step in range(50)}
    trial_kit.report(storage, [(trial_id, *step) for step in steps.items()])
    trial_kit.finish(storage, [(trial_id, TrialState.COMPLETE, [0.5])])

    def shorten(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION group_concat_max_len = 200")

    other = Database(database.url)
    sa.event.listen(other.engine, "connect", shorten)
    statements = Statements(other.engine)
    trial = Storage(other).get_trial(trial_id)
    assert any("group_concat" in statement for statement in statements.seen)
    assert "group_concat" not in statements.seen[-1]
    assert len(trial.params) == 9
    assert trial.intermediate_values == steps
    (deferred,) = Storage(other).get_all_trials(study_id)
    assert deferred.intermediate_values == steps
    other.dispose()
