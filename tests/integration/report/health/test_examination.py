"""`hpo doctor` on each kind of database: what it finds, what it advises, its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from hpo.cli.main import hpo
from hpo.report.health import database_health, lock_race
from hpo.report.health.examination import examine
from hpo.report.health.health_check import HealthCheck
from hpo.run.files.artifacts import Artifacts
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_last_id, hpo_lease
from hpo.store.db.opening import open_database
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import study_records
from tests.conftest import GetServer
from tests.kits.cli_kit import fill
from tests.kits.ledger_kit import new_study, new_worker, outcome, pass_time
from tests.kits.servers import PASSWORD, free_port

pytestmark = [pytest.mark.integration]
OF_DATABASE = ("database", "schema", "rights", "locks", "clock", "workers")


def by_name(checks: list[HealthCheck]) -> dict[str, HealthCheck]:
    return {check.name: check for check in checks}


def rows(db: Database) -> list[Any]:
    with db.read() as conn:
        return list(conn.execute(sa.select(hpo_last_id)))


def doctor(*arguments: str, expect: int) -> dict[str, dict[str, str]]:
    result = CliRunner().invoke(hpo, ["doctor", "-f", "json", *arguments])
    assert result.exit_code == expect, result.output
    report = json.loads(result.stdout)
    assert report["exit_code"] == expect
    return {check["name"]: check for check in report["checks"]}


@pytest.mark.slow
def test_a_database_in_order_passes_each_check_and_is_left_as_it_was(
    database: Database, tmp_path: Path
) -> None:
    fill(database)
    before = rows(database)
    found = by_name(examine(database.url, str(tmp_path)))
    assert {name: found[name].status for name in OF_DATABASE} == dict.fromkeys(OF_DATABASE, "ok")
    assert "counted to 30 together" in found["locks"].message
    assert found["workers"].message == "1 live"
    assert found["artifacts"].status == "ok"
    assert {"gpu", "threads", "memory", "disk", "shared"} < found.keys()
    assert rows(database) == before
    product = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}
    assert product[database.dialect] in found["database"].message
    assert PASSWORD not in str(found)


@pytest.mark.slow
def test_a_race_without_locks_loses_counts_and_says_so(database: Database) -> None:
    count = lock_race.counted_without_lock
    race = lock_race.run(database, count=count, arguments=("--without-lock",))
    assert race.n_kept < race.n_counted
    check = database_health.judged(race)
    assert check.status == "failed"
    assert "locks do not exclude" in check.message
    assert "do not use this database" in check.advice
    assert rows(database) == []


@pytest.fixture
def read_only(database: Database, server_of: GetServer, tmp_path: Path) -> Iterator[str]:
    """The URL by which a user may only read the database."""
    fill(database)
    if database.dialect == "sqlite":
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("mounting a disk needs root")
        database.merge_log()
        database.dispose()
        shutil.copy(tmp_path / "hpo.db", disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        yield f"sqlite:///{disk}/hpo.db"
        subprocess.run(["umount", "-l", str(disk)], check=True)
        return
    reader = f"reader{uuid.uuid4().hex[:8]}"
    url = sa.make_url(database.url)
    with database.write() as conn:
        for statement in {
            "postgresql": (
                f"CREATE ROLE {reader} LOGIN PASSWORD 'pw'",
                f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}",
            ),
            "mysql": (
                f"CREATE USER {reader}@'%%' IDENTIFIED BY 'pw'",
                f"GRANT SELECT ON {url.database}.* TO {reader}@'%%'",
            ),
        }[database.dialect]:
            conn.exec_driver_sql(statement)
    yield url.set(username=reader, password="pw").render_as_string(hide_password=False)


def test_rights_to_read_alone_are_not_enough(read_only: str) -> None:
    found = doctor("--storage", read_only, expect=3)
    if read_only.startswith("sqlite"):
        # Its log cannot be opened without writing.
        assert found["database"]["status"] == "failed"
        assert "you may read and write it and its folder" in found["database"]["advice"]
        return
    assert found["database"]["status"] == "ok"
    assert found["rights"]["status"] == "failed"
    assert found["rights"]["advice"]
    assert found["locks"] == {
        "name": "locks",
        "status": "skipped",
        "message": "needs the rights",
        "advice": "",
    }


@pytest.mark.parametrize(
    ("revision", "advice"), [("0003", "`hpo db upgrade`"), ("9999", "install the newer hpo")]
)
def test_another_schema_fails(database: Database, revision: str, advice: str) -> None:
    stamp = sa.text("UPDATE hpo_alembic_version SET version_num = :r")
    with database.write() as conn:
        old = conn.scalar(sa.text("SELECT version_num FROM hpo_alembic_version"))
        conn.execute(stamp, {"r": revision})
    try:
        found = doctor("--storage", database.url, expect=3)
    finally:
        with database.write() as conn:
            conn.execute(stamp, {"r": old})
    assert found["schema"]["status"] == "failed"
    assert revision in found["schema"]["message"]
    assert advice in found["schema"]["advice"]
    assert found["locks"]["status"] == "skipped"


@pytest.mark.parametrize(("minutes", "side"), [(30, "behind"), (-30, "ahead of")])
def test_a_clock_that_differs_from_the_databases_is_told(
    database: Database, minutes: int, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "clock_offset", timedelta(minutes=minutes))
    check = database_health.clock(database)
    assert check.status == "warning"
    assert f"clock is 30 min {side} the database's" in check.message
    assert "timedatectl" in check.advice


def test_a_heartbeat_in_the_future_fails(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_worker(database, new_study(database))
    assert database_health.clock(database).status == "ok"
    monkeypatch.setattr(Database, "clock_offset", timedelta(hours=-3))
    check = database_health.clock(database)
    assert check.status == "failed"
    assert "3 h in the future" in check.message


def test_workers_that_have_fallen_silent_are_named(database: Database) -> None:
    study_id = new_study(database, "digits")
    silent = new_worker(database, study_id, remote=True)
    pass_time(database, 300)
    new_worker(database, study_id)
    check = database_health.workers(database)
    assert check.status == "warning"
    assert check.message.startswith(f"1 live; silent: worker {silent} of digits on far (process ")
    assert "heard 5 min ago" in check.message
    assert "hpo worker" in check.advice


@pytest.mark.slow
def test_checkpoints_that_lie_on_another_machine_are_told(
    sqlite_database: Database, tmp_path: Path
) -> None:
    db, ledger = sqlite_database, Ledger(sqlite_database)
    study_id = new_study(db, "digits", trials=9)
    worker = new_worker(db, study_id)
    files = Artifacts.of(study_records.load(db, "digits"), db.url)
    here = ledger.claim(study_id, worker, 3).leases
    for lease in here:
        path = files.checkpoint(lease.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        ledger.settle([outcome(lease, "paused", checkpoint=str(path), epoch=0)])
    found = by_name(examine(db.url))["shared"]
    assert (found.status, found.message) == (
        "ok",
        "the checkpoints of 3 unfinished trials are here",
    )
    files.checkpoint(here[1].number).unlink()
    found = by_name(examine(db.url))["shared"]
    assert found.status == "warning"
    assert "1 of 3 checkpoints are not here (digits)" in found.message
    assert "--artifacts" in found.advice
    with db.read() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(hpo_lease)) == 3


def test_a_folder_of_artifacts_that_is_not_there_is_a_warning(
    sqlite_database: Database, tmp_path: Path
) -> None:
    missing = tmp_path / "mnt" / "shared"
    found = by_name(examine(sqlite_database.url, str(missing)))["artifacts"]
    assert found.status == "warning"
    assert found.message == f"{missing} is not there"
    assert "mount that first" in found.advice
    assert not missing.exists()


def test_a_full_disk_of_artifacts_fails(sqlite_database: Database, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a disk needs root")
    try:
        (disk / "stuffing").write_bytes(bytes(1024 * 1000))
        found = doctor("--storage", sqlite_database.url, "--artifacts", str(disk), expect=1)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert found["artifacts"]["status"] == "failed"
    assert "the disk is full" in found["artifacts"]["message"]
    assert found["disk"]["status"] == "failed"
    assert "make room on the disk" in found["disk"]["advice"]


@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_a_server_that_does_not_answer_fails_without_its_password(dialect: str) -> None:
    url = f"{dialect}://lab:geheim@127.0.0.1:{free_port()}/hpo"
    found = doctor("--storage", url, expect=3)
    assert found["database"]["status"] == "failed"
    assert found["database"]["advice"]
    assert "geheim" not in str(found)
    assert {found[name]["status"] for name in OF_DATABASE[1:]} == {"skipped"}


def test_before_the_first_study_there_is_nothing_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    found = doctor(expect=0)
    assert found["database"]["status"] == "warning"
    assert "`hpo run STUDY.toml` creates one" in found["database"]["advice"]
    open_database("sqlite:///hpo.db", create=True).dispose()
    assert doctor(expect=0)["database"]["status"] == "ok"


def test_lines_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(hpo, ["doctor", "--storage", "oracle://x/y"])
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[0].startswith(" database   failed   oracle://x/y: hpo has no database")
    assert lines[1].strip().startswith("→ ")
    assert lines[-1].startswith("1 failed, ")
