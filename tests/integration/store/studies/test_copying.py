"""`hpo db copy`: complete copies between all databases; interrupted ones are continued."""

from __future__ import annotations

import datetime
import math
import os
import pprint
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.cli.main import hpo
from hpo.errors import SpecError, StoreError
from hpo.store.db import hpo_tables, optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.rows import worker_list
from hpo.store.studies import copy_rows, copying, study_records
from hpo.store.studies.copying import Copied, Options
from hpo.store.studies.partial_copy import PartialCopy, working_name
from tests.conftest import DIALECTS, GetServer
from tests.kits.cli_kit import fill
from tests.kits.servers import PASSWORD

pytestmark = pytest.mark.integration

PAIRS = [(a, b) for a in DIALECTS for b in DIALECTS]
ODD = "odd/ß"


@pytest.fixture(scope="session")
def other_url(server_of: GetServer) -> Callable[[str], str]:
    """A second database on each server, which the tests of this module share."""
    urls: dict[str, str] = {}

    def get(dialect: str) -> str:
        if dialect not in urls:
            urls[dialect] = server_of(dialect).create_database("hpo_copies")
        return urls[dialect]

    return get


@pytest.fixture(params=PAIRS, ids="-to-".join)
def pair(
    request: pytest.FixtureRequest,
    shared_url: Callable[[str], str],
    other_url: Callable[[str], str],
    tmp_path: Path,
) -> Iterator[tuple[Database, Database]]:
    """Two databases with empty tables, of every two kinds."""
    ways = zip(request.param, (shared_url, other_url), ("a.db", "b.db"), strict=True)
    urls = [str(tmp_path / file) if d == "sqlite" else url(d) for d, url, file in ways]
    found = [open_database(url, create=True) for url in urls]
    for db in found:
        empty(db)
    yield found[0], found[1]
    for db in found:
        db.dispose()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Database]:
    """An SQLite database with the study `digits` of 6 trials, without workers."""
    db = open_database(str(tmp_path / "source.db"), create=True)
    fill(db)
    leave(db)
    yield db
    db.dispose()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Database]:
    db = open_database(str(tmp_path / "target.db"), create=True)
    yield db
    db.dispose()


def empty(db: Database) -> None:
    with db.write() as conn:
        for table in reversed([*hpo_tables.metadata.sorted_tables]):
            conn.execute(table.delete())
        for table in reversed(optuna_tables.metadata.sorted_tables):
            if table is not optuna_tables.version_info:
                conn.execute(table.delete())


def leave(db: Database) -> None:
    for worker in worker_list.live(db):
        workers.retire(db, worker.worker_id)


def add_odd_study(db: Database) -> None:
    """Adds a study of two objectives without a row of ours, with all that the schema can hold."""
    storage = Storage(db)
    study_id = storage.create_new_study([StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE], ODD)
    storage.set_study_user_attr(study_id, "naïve", {"deep": [None, "☃", 1e-300], "": ""})
    storage.set_study_system_attr(study_id, "study:metric_names", ["cost", "gain"])
    choices = CategoricalDistribution((None, True, "a", 1.5))
    begun = datetime.datetime(2024, 2, 29, 23, 59, 59, 123456)
    for state, values, steps in (
        (TrialState.COMPLETE, [math.inf, -math.inf], {0: math.nan, 7: math.inf, 3: -math.inf}),
        (TrialState.COMPLETE, [5e-324, 1.7976931348623157e308], {}),
        (TrialState.PRUNED, None, {1: 0.1 + 0.2, 2: 1e-17}),
        (TrialState.FAIL, None, {}),
        (TrialState.WAITING, None, {}),
        (TrialState.RUNNING, None, {-1: 0.5}),
    ):
        is_finished = state.is_finished()
        template = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=state,
            value=None,
            values=values,
            datetime_start=None if state is TrialState.WAITING else begun,
            datetime_complete=begun + datetime.timedelta(microseconds=1) if is_finished else None,
            params={} if state is TrialState.WAITING else {"z": 0.25, "a": None},
            distributions={}
            if state is TrialState.WAITING
            else {"z": FloatDistribution(0.0, 1.0), "a": choices},
            user_attrs={"none": None, "text": "a\nb\0c'\"\\%s:x😀", "long": "x" * 50_000},
            system_attrs={"fixed_params": {"z": 0.5}},
            intermediate_values=steps,
        )
        storage.create_new_trial(study_id, template)


def plain(trial: FrozenTrial) -> str:
    """Returns a trial as text, without its id, and in which NaN equals NaN."""
    parts = {
        "state": (trial.number, trial.state, trial.values, trial.intermediate_values),
        "times": (trial.datetime_start, trial.datetime_complete),
        # Optuna keeps their order.
        "params": list(trial.params.items()),
        "distributions": trial.distributions,
        "attrs": (trial.user_attrs, trial.system_attrs),
    }
    return pprint.pformat(parts)


def facts(db: Database, name: str) -> dict[str, Any]:
    """Returns everything that can be known of a study but for ids, as text."""
    storage = Storage(db)
    study_id = storage.get_study_id_from_name(name)
    trials = storage.get_all_trials(study_id)
    number: dict[int | None, int] = {trial._trial_id: trial.number for trial in trials}
    found: dict[str, Any] = {
        "directions": storage.get_study_directions(study_id),
        "attrs": [storage.get_study_user_attrs(study_id), storage.get_study_system_attrs(study_id)],
        "trials": [plain(trial) for trial in trials],
    }
    with db.read() as conn:
        for table in hpo_tables.metadata.sorted_tables:
            keys = [c for c in table.columns if c.name in ("study_id", "trial_id")]
            if table.name in copy_rows.NOT_COPIED:
                continue
            mine = keys[0].in_([study_id] if keys[0].name == "study_id" else number)
            rows = conn.execute(sa.select(table).where(mine).order_by(*table.primary_key))
            found[table.name] = [
                {**row, "study_id": 0, "trial_id": number.get(row.get("trial_id")), "worker_id": 0}
                for row in rows.mappings()
            ]
    for row in (*found["hpo_event"], *found["hpo_worker"], *found["hpo_suggestion"]):
        row.pop("event_id", None)
        row.pop("suggestion_id", None)
    return found


def copy(source: Database, target: Database, name: str = "digits", **options: Any) -> Copied:
    return copying.copy(source, target, (name, name), Options(**options))


def test_everything_arrives_between_any_two(pair: tuple[Database, Database]) -> None:
    source, target = pair
    # The ids of the target are others.
    Storage(target).create_new_trial(Storage(target).create_new_study([StudyDirection.MINIMIZE]))
    fill(source)
    leave(source)
    add_odd_study(source)
    for name in copying.choose(source, []):
        assert copy(source, target, name) == Copied(name, name, 6, was_there=False)
        assert facts(target, name) == facts(source, name)
        assert copy(source, target, name).was_there
    assert study_records.load(target, "digits").base_dir == "/data"
    storage = Storage(target)
    ids = [t._trial_id for t in storage.get_all_trials(storage.get_study_id_from_name(ODD))]
    assert ids == sorted(ids)
    # And back again, under another name.
    copying.copy(target, source, (ODD, "back"))
    assert facts(source, "back") == facts(source, ODD)


def test_running_trials_go_on_in_the_copy(source: Database, target: Database) -> None:
    study = study_records.load(source, "digits")
    owner = workers.register(source, study.study_id, "cpu")
    (lost,) = Ledger(source).claim(study.study_id, owner, 1).leases
    Ledger(source).renew(owner, {lost.trial_id: "/shared/5.pt"})
    copy(source, target, force=True)
    there = study_records.load(target, "digits")
    assert worker_list.live(target, there.study_id) == []
    newcomer = workers.register(target, there.study_id, "cpu")
    (lease,) = Ledger(target).claim(there.study_id, newcomer, 1).leases
    assert (lease.number, lease.epoch, lease.checkpoint) == (5, 2, "/shared/5.pt")
    assert Storage(target).get_trial(lease.trial_id).params.keys() == {
        *("learning_rate", "width", "depth")
    }


def test_optuna_reads_the_copy_and_adds_to_it(source: Database, target: Database) -> None:
    copy(source, target)
    storage = optuna.storages.RDBStorage(target.url)
    study = optuna.load_study(study_name="digits", storage=storage)
    assert study.best_value == 0.75
    assert study.ask().number == 6
    storage.remove_session()
    storage.engine.dispose()


def test_a_database_of_optuna_alone_is_copied(tmp_path: Path, target: Database) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(study_name="plain", storage=storage)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    source = copying.open_source(url)
    assert copying.choose(source, []) == ["plain"]
    copying.check_free(source, ["plain"])
    assert not copy(source, target, "plain").was_there
    assert copy(source, target, "plain").was_there
    assert facts(target, "plain")["trials"] == [plain(trial) for trial in study.trials]
    for db in (source, storage):
        db.engine.dispose()


def break_after(n_batches: int) -> Callable[[copying.Progress], None]:
    calls = iter(range(n_batches + 1))

    def report(progress: copying.Progress) -> None:
        if progress.phase == "copying" and next(calls) == n_batches:
            raise InterruptedError

    return report


@pytest.mark.parametrize("n_batches", [0, 1, 2, 3])
def test_an_interrupted_copy_goes_on(
    n_batches: int, source: Database, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_rows, "MAX_TRIALS", 2)
    with pytest.raises(InterruptedError):
        copying.copy(source, target, ("digits", "digits"), Options(), break_after(n_batches))
    assert working_name("digits") in facts_names(target)
    with pytest.raises(SpecError, match="there is no study called digits"):
        study_records.load(target, "digits")
    assert copying.choose(source, []) == ["digits"]
    # Meanwhile the running trial ends, and another one begins.
    study = study_records.load(source, "digits")
    worker_id = workers.register(source, study.study_id, "cpu")
    for lease in Ledger(source).claim(study.study_id, worker_id, 2).leases:
        Storage(source).set_trial_intermediate_value(lease.trial_id, 3, 0.5)
        if lease.number == 5:
            Storage(source).set_trial_state_values(lease.trial_id, TrialState.COMPLETE, [0.25])
    leave(source)
    copy(source, target)
    assert facts_names(target) == {"digits"}
    assert facts(target, "digits") == facts(source, "digits")


def facts_names(db: Database) -> set[str]:
    with db.read() as conn:
        return set(conn.scalars(sa.select(optuna_tables.studies.c.study_name)))


SLOW_COPY = """
import sys, time
from hpo.store.studies import copy_rows, copying
from hpo.store.db.database import Database
copy_rows.MAX_TRIALS = 1
def report(progress):
    print(progress.n_done, flush=True)
    time.sleep(0.05)
copying.copy(
    Database(sys.argv[1]), Database(sys.argv[2]), ("digits", "digits"), on_progress=report
)
"""


def test_a_copy_killed_with_kill_9_goes_on(source: Database, database: Database) -> None:
    command = [sys.executable, "-c", SLOW_COPY, source.url, database.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "3":
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with database.read() as conn:
        n_there = conn.scalar(sa.select(sa.func.count()).select_from(optuna_tables.trials))
    assert 3 <= (n_there or 0) < 6
    assert not copy(source, database).was_there
    assert facts(database, "digits") == facts(source, "digits")
    assert facts_names(database) == {"digits"}


def test_who_was_overtaken_writes_nothing_more(source: Database, target: Database) -> None:
    def overtake(progress: copying.Progress) -> None:
        if (progress.phase, progress.n_done) == ("copying", 0):
            copy(source, target)

    with pytest.raises(StoreError, match="another process has taken over this copy"):
        copying.copy(source, target, ("digits", "digits"), Options(), overtake)
    assert facts(target, "digits") == facts(source, "digits")


def test_a_copy_that_differs_is_an_error_and_stays_hidden(
    source: Database, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rest = PartialCopy.write_rest

    def spoil(self: PartialCopy, side: copy_rows.Side) -> None:
        write_rest(self, side)
        with target.write() as conn:
            conn.execute(sa.text("UPDATE trial_params SET param_value = 0.5 WHERE param_id = 1"))
            conn.execute(sa.text("DELETE FROM hpo_epoch WHERE epoch = 4 AND trial_id = 1"))

    monkeypatch.setattr(PartialCopy, "write_rest", spoil)
    with pytest.raises(StoreError) as caught:
        copy(source, target)
    assert "trial_params has as many rows (18), but other ones" in caught.value.message
    assert "hpo_epoch has 17 rows, not 18" in caught.value.message
    assert "--restart" in str(caught.value.hint)
    assert facts_names(target) == {working_name("digits")}
    monkeypatch.undo()
    with pytest.raises(StoreError, match="differs"):
        copy(source, target)
    copy(source, target, restart=True)
    assert facts(target, "digits") == facts(source, "digits")


def test_the_rest_of_another_copy_is_not_mixed_in(
    source: Database, target: Database, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedError):
        copying.copy(source, target, ("digits", "digits"), Options(), break_after(1))
    other = open_database(str(tmp_path / "other.db"), create=True)
    fill(other)
    leave(other)
    with pytest.raises(StoreError, match="part of a copy of another study called digits"):
        copy(other, target)
    copy(other, target, restart=True)
    assert facts(target, "digits") == facts(other, "digits")
    with pytest.raises(StoreError, match=r"has another study called digits \(trials has"):
        copy(source, target)
    other.dispose()


def test_a_study_with_live_workers_is_refused(source: Database, target: Database) -> None:
    workers.register(source, study_records.load(source, "digits").study_id, "cpu")
    with pytest.raises(StoreError, match="digits has 1 live worker, which"):
        copy(source, target)
    assert facts_names(target) == set()
    copy(source, target, force=True)
    (row,) = facts(target, "digits")["hpo_worker"][1:]
    assert row["ended_at"] == row["heartbeat_at"]


def test_times_to_the_second_are_refused(
    source: Database, server_of: GetServer, tmp_path: Path
) -> None:
    url = server_of("mysql").create_database("hpo_coarse")
    storage = optuna.storages.RDBStorage(url.replace("mysql://", "mysql+pymysql://"))
    storage.engine.dispose()
    target = open_database(url, create=True)
    with pytest.raises(StoreError, match="keeps times to the second only") as caught:
        copy(source, target)
    with target.write() as conn:
        conn.execute(sa.text(str(caught.value.hint)))
    copy(source, target)
    target.dispose()
    server_of("mysql").drop_database("hpo_coarse")


def test_every_table_is_thought_of() -> None:
    kinds = (*copy_rows.OF_TRIAL, *copy_rows.OF_STUDY, copy_rows.HEADS, copy_rows.WORKERS)
    known = {
        kind.name for kind in (*kinds, copy_rows.EVENTS, copy_rows.SUGGESTIONS, copy_rows.STUDY)
    }
    everything = {*optuna_tables.metadata.tables, *hpo_tables.metadata.tables}
    assert known | copy_rows.NOT_COPIED == everything


def test_long_names_have_working_names() -> None:
    longest = "x" * optuna_tables.MAX_NAME_LENGTH
    names = {working_name(name) for name in ("a", longest, longest[:-1] + "y")}
    assert len(names) == 3
    assert max(map(len, names)) == optuna_tables.MAX_NAME_LENGTH


def hpo_db_copy(*arguments: str, expect: int = 0) -> str:
    result = CliRunner().invoke(hpo, ["db", "copy", *arguments], prog_name="hpo")
    assert result.exit_code == expect, result.output
    return str(result.output)


def test_the_command(source: Database, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    add_odd_study(source)
    told = hpo_db_copy(source.url, url).splitlines()
    assert told == [
        f"copied digits to {url}: 6 trials, compared and equal",
        f"copied {ODD} to {url}: 6 trials, compared and equal",
    ]
    again = hpo_db_copy(source.url, url, "--study", "digits")
    assert again == f"digits is already in {url}, identical: 6 trials\n"
    renamed = hpo_db_copy(source.url, url, "--study", "digits", "--rename", "digits 2")
    assert renamed == f"copied digits to {url} as digits 2: 6 trials, compared and equal\n"
    target = open_database(url)
    record = study_records.load(target, "digits 2")
    assert (record.spec.name, record.digest) == ("digits 2", record.spec.digest)
    target.dispose()


def test_a_terminal_sees_how_far_it_is(
    source: Database, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    told = hpo_db_copy(source.url, target.url)
    assert "12/12 trials" in told
    assert "checking digits" in told


def test_wrong_commands(source: Database, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    add_odd_study(source)
    told = hpo_db_copy(source.url, url, "--study", "digit", expect=2)
    assert "has no study 'digit'; did you mean digits?" in told
    assert "--rename is for one study" in hpo_db_copy(source.url, url, "--rename", "x", expect=2)
    assert not (tmp_path / "new.db").exists()
    assert "there is no database at" in hpo_db_copy(f"{source.url}x", url, expect=3)


def test_passwords_stay_hidden(source: Database, server_of: GetServer) -> None:
    wrong = server_of("postgresql").url("no_such_database")
    told = hpo_db_copy(source.url, wrong, expect=3)
    assert "no_such_database" in told
    assert PASSWORD not in told
    assert "s3cret" not in told


def test_ctrl_c_says_that_the_same_command_goes_on(
    source: Database, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rest = PartialCopy.write_rest

    def interrupt(self: PartialCopy, side: copy_rows.Side) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(PartialCopy, "write_rest", interrupt)
    told = hpo_db_copy(source.url, target.url, expect=130)
    assert "interrupted; run the same command again to resume" in told
    monkeypatch.setattr(PartialCopy, "write_rest", write_rest)
    hpo_db_copy(source.url, target.url)
    assert facts(target, "digits") == facts(source, "digits")
