"""SQLite files with odd names, moved away, replaced, locked by another process."""

from __future__ import annotations

import json
import sqlite3
import zlib
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from hpo.cli.main import hpo
from hpo.errors import StoreError
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import outbox
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import study_records
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", ["q?x.db", "p%41.db", "a b#c&d=é.db", "sqlite3%3Fx"])
def test_a_path_means_the_file_of_that_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given in (name, str(tmp_path / name)):
        db = open_database(given, create=True)
        # As workers get it.
        assert study_records.names(open_database(db.url)) == []
        assert study_records.names(open_database(db.masked_url)) == []
        db.dispose()
    files = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert {file.removesuffix("-wal").removesuffix("-shm") for file in files} == {name}


def test_a_file_that_is_moved_away_or_replaced_is_an_outage(
    sqlite_database: Database, tmp_path: Path
) -> None:
    db, file = sqlite_database, tmp_path / "hpo.db"
    study_id = kit.new_study(db)
    ledger, worker_id = Ledger(db), kit.new_worker(db, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]

    for path in tmp_path.glob("hpo.db*"):
        path.rename(tmp_path / path.name.replace("hpo", "moved"))
    with pytest.raises(StoreError, match="was moved away or deleted while it was in use") as caught:
        ledger.report([kit.epoch_row(lease, 1)])
    assert db.is_outage(caught.value)
    db.dispose()
    with pytest.raises(StoreError, match="was moved away"):
        study_records.names(db)
    assert not file.exists()

    other = open_database(f"sqlite:///{file}", create=True)
    with pytest.raises(StoreError, match="was replaced by another file") as caught:
        ledger.report([kit.epoch_row(lease, 1)])
    assert db.is_outage(caught.value)
    assert study_records.names(other) == []
    other.dispose()

    file.unlink()
    for path in tmp_path.glob("moved.db*"):
        path.rename(tmp_path / path.name.replace("moved", "hpo"))
    assert ledger.report([kit.epoch_row(lease, 1)]) == set()
    assert kit.epochs_of(db, lease.trial_id) == [1]


def test_a_check_takes_no_lock(sqlite_database: Database, tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "hpo.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    found = CliRunner().invoke(hpo, ["db", "check", "--storage", sqlite_database.url])
    assert (found.exit_code, "has the expected schema" in found.output) == (0, True)
    holder.close()


@pytest.mark.parametrize(
    "change", [{"colour": "red"}, {"epoch": "many"}, {"kind": "question"}, {"metrics": None}]
)
def test_a_record_that_another_version_wrote_is_put_aside(
    sqlite_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, object],
) -> None:
    monkeypatch.setenv(outbox.ENVIRONMENT_VARIABLE, str(tmp_path / "spool"))
    db = sqlite_database
    study_id = kit.new_study(db)
    ledger, worker_id = Ledger(db), kit.new_worker(db, study_id)
    lease = ledger.claim(study_id, worker_id, 1).leases[0]
    good = outbox.encode(kit.epoch_row(lease, 1))
    table = json.loads(good.partition(b" ")[2]) | {"epoch": 2} | change
    text = json.dumps(table).encode()
    folder = outbox.folder_of(db.url, study_id)
    folder.mkdir(parents=True)
    file = folder / "worker-1-00000000.spool"
    file.write_bytes(good + b"%08x %s\n" % (zlib.crc32(text), text))

    assert outbox.adopt(db, study_id) == 1
    assert outbox.adopt(db, study_id) == 0

    assert kit.epochs_of(db, lease.trial_id) == [1]
    assert [path.name for path in folder.iterdir()] == ["worker-1-00000000.unread"]
    assert str(folder / "worker-1-00000000.unread") in caplog.text
    with db.read() as conn:
        assert conn.scalar(sa.text("SELECT count(*) FROM hpo_epoch")) == 1
