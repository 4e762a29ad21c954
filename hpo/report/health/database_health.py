"""Database health: reachable, its schema, rights, locks and clock, and the workers in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psutil
import sqlalchemy as sa

from hpo.errors import HpoError, StoreError
from hpo.report.health import lock_race
from hpo.report.health.health_check import HealthCheck, failed, ok, skipped, warning
from hpo.report.text.formatting import ago, count, duration
from hpo.store.db import hpo_tables, optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_worker
from hpo.store.db.schema import HEAD, REVISIONS
from hpo.store.rows import worker_list

MOST_SKEW_S: Final = 5.0
"""Seconds by which two clocks may differ. Source: judgement; a heartbeat comes every 5 s."""
_VERSION: Final = {"sqlite": "sqlite_version()", "postgresql": "version()", "mysql": "version()"}
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs"})
_MOST_NAMED: Final = 3


def reachable(url: str | None) -> tuple[HealthCheck, Database | None]:
    """Connects to the database; returns None for it where that is not possible.

    Args:
        url: As ``hpo.store.db.urls.resolve_url`` takes it.
    """
    try:
        db = Database(url)
    except HpoError as error:
        return failed("database", error.message, error.hint or "correct --storage"), None
    try:
        db.require_file()
    except StoreError as error:
        db.dispose()
        return warning("database", *_parts(error.message)), None
    try:
        began_s = time.monotonic()
        with db.read() as conn:
            version = str(conn.scalar(sa.text(f"SELECT {_VERSION[db.dialect]}")))
            again_s = time.monotonic()
            conn.execute(sa.text("SELECT 1"))
            trip_s = time.monotonic() - again_s
    except HpoError as error:
        db.dispose()
        found, advice = _parts(error.message)
        usual = "start the server, or name another database with --storage"
        return failed("database", found, error.hint or advice or usual), None
    what = f"{db.masked_url}: {_product(db.dialect, version)}"
    network = _network_file_system(db)
    if network:
        advice = "use a server, or a local disk: locks of files on a network are not reliable"
        return warning("database", f"{what}, on {network}", advice), db
    times = f"connected in {duration(again_s - began_s)}, a statement takes {duration(trip_s)}"
    return ok("database", f"{what}, {times}"), db


def schema(db: Database) -> HealthCheck:
    """Compares the tables with those that this version of hpo expects."""
    # Brings alembic.
    from hpo.store.db import migrations

    try:
        revision = migrations.current(db)
        if revision is None:
            return warning("schema", "no tables of hpo yet", "`hpo run STUDY.toml` creates them")
        if revision != HEAD:
            return _other_revision(revision)
        found = migrations.check(db)
    except StoreError as error:
        return failed("schema", error.message, error.hint or "`hpo db check` says more")
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        advice = "`hpo db check` lists all differences; restore the tables from a backup"
        return failed("schema", f"differs: {found[0]}{more}", advice)
    return ok("schema", f"revision {HEAD}, as this version of hpo expects")


def rights(db: Database) -> HealthCheck:
    """Checks that this user may insert, change and delete rows of every table; changes none."""
    tables = [
        *hpo_tables.metadata.sorted_tables,
        *(t for t in optuna_tables.metadata.sorted_tables if t is not optuna_tables.version_info),
    ]
    try:
        with db.write() as conn:
            for table in tables:
                for statement in _without_effect(table):
                    conn.execute(statement)
    except StoreError as error:
        advice = error.hint or (
            "let this user select, insert, update and delete in all tables (GRANT); of an SQLite "
            "file, the file and its folder must be writable"
        )
        return failed("rights", error.message, advice)
    return ok("rights", f"rows of all {len(tables)} tables may be written")


def locks(db: Database) -> HealthCheck:
    """Lets two processes count up one row at the same time."""
    try:
        race = lock_race.run(db)
    except StoreError as error:
        advice = "another program may hold a lock: end it, or try again"
        return failed("locks", error.message, error.hint or advice)
    return judged(race)


def judged(race: lock_race.LockRace) -> HealthCheck:
    """Returns what the result of a race means."""
    n_lost = race.n_counted - race.n_kept
    if n_lost:
        message = f"locks do not exclude: {n_lost} of {race.n_counted} counts of two processes lost"
        advice = (
            "do not use this database: trials would be granted twice. Use a local disk, or a "
            "server without a proxy that splits transactions"
        )
        return failed("locks", message, advice)
    message = f"two processes counted to {race.n_kept} together and lost nothing"
    return ok("locks", f"{message} ({duration(race.seconds)})")


def clock(db: Database) -> HealthCheck:
    """Compares this machine's clock with the database's, and with the heartbeats in it."""
    newest = sa.select(sa.func.max(hpo_worker.c.heartbeat_at))
    with db.read() as conn:
        before = datetime.now(UTC).replace(tzinfo=None)
        theirs = db.now(conn)
        trip = datetime.now(UTC).replace(tzinfo=None) - before
        heartbeat = conn.scalar(newest)
    skew_s = (before + trip / 2 - theirs).total_seconds()
    if heartbeat is not None and heartbeat > theirs + timedelta(seconds=MOST_SKEW_S):
        ahead = duration((heartbeat - theirs).total_seconds())
        whose = "this machine's" if db.dialect == "sqlite" else "the server's"
        return failed(
            "clock",
            f"a heartbeat lies {ahead} in the future: {whose} clock was set back",
            "set it right (timedatectl set-ntp true); a dead worker counts as live until then",
        )
    if abs(skew_s) > MOST_SKEW_S + trip.total_seconds():
        side = "ahead of" if skew_s > 0 else "behind"
        return warning(
            "clock",
            f"this machine's clock is {duration(abs(skew_s))} {side} the database's, which decides",
            "no trial is lost; logs and files have wrong times until you set it "
            "(timedatectl set-ntp true)",
        )
    if db.dialect == "sqlite":
        return ok("clock", "no heartbeat lies in the future")
    return ok("clock", f"{1000 * abs(skew_s):.0f} ms between this machine and the database")


def workers(db: Database) -> HealthCheck:
    """Looks for workers that have fallen silent, and for versions that differ."""
    live = worker_list.live(db)
    with db.read() as conn:
        now = db.now(conn)
        silent = conn.execute(_unended([row.worker_id for row in live])).all()
    n_hosts = len({row.host for row in live})
    found = f"{count(len(live))} live" + (f" on {n_hosts} machines" if n_hosts > 1 else "")
    found = found if live else "none at work"
    if silent:
        named = [
            f"worker {row.worker_id} of {row.study_name} on {row.host} (process {row.pid}, heard "
            f"{ago(row.heartbeat_at, now)})"
            for row in silent[:_MOST_NAMED]
        ]
        more = f" and {len(silent) - _MOST_NAMED} more" if len(silent) > _MOST_NAMED else ""
        return warning(
            "workers",
            f"{found}; silent: {', '.join(named)}{more}",
            "`hpo worker STUDY` takes over their trials; end a process that hangs with kill -9",
        )
    differing = _differing([row.versions for row in live])
    if differing:
        return warning("workers", f"{found}; they differ in {differing}", "install the same")
    return ok("workers", found)


def all_checks(url: str | None) -> tuple[list[HealthCheck], Database | None]:
    """Makes the checks of a database, each unless one failed that it needs.

    Returns:
        The checks; and the database, if its rows can be read.
    """
    first, db = reachable(url)
    others = ("schema", "rights", "locks", "clock", "workers")
    if db is None:
        return [first, *(skipped(name, "needs the database") for name in others)], None
    found = [first, schema(db)]
    if found[-1].status != "ok":
        db.dispose()
        return [*found, *(skipped(name, "needs the schema") for name in others[1:])], None
    found.append(rights(db))
    may_write = found[-1].status == "ok"
    found.append(locks(db) if may_write else skipped("locks", "needs the rights"))
    return [*found, _guarded("clock", clock, db), _guarded("workers", workers, db)], db


def _guarded(name: str, check: Callable[[Database], HealthCheck], db: Database) -> HealthCheck:
    try:
        return check(db)
    except StoreError as error:
        return failed(name, error.message, error.hint or "see the check of the database")


def _parts(message: str) -> tuple[str, str]:
    found, _, advice = message.partition("; ")
    return found, advice


def _product(dialect: str, version: str) -> str:
    """Returns a database's product and version, from what each calls its version."""
    if dialect == "sqlite":
        return f"SQLite {version}"
    if dialect == "postgresql":
        return " ".join(version.split()[:2])
    name = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    return f"{name} {version.partition('-')[0]}"


def _network_file_system(db: Database) -> str:
    """Returns the network file system on which an SQLite file lies; empty where it is local."""
    if db.dialect != "sqlite":
        return ""
    folder = Path(str(db.engine.url.database)).resolve().parent
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    kind = next((mounts[one] for one in (folder, *folder.parents) if one in mounts), "")
    return kind if kind in _NETWORK else ""


def _other_revision(revision: str) -> HealthCheck:
    found = f"revision {revision}; this version of hpo expects {HEAD}"
    if revision in REVISIONS:
        return failed("schema", found, "copy the database, then run `hpo db upgrade`")
    return failed("schema", f"{found}: a newer hpo has made it", "install the newer hpo here")


def _without_effect(table: sa.Table) -> list[sa.Executable]:
    """Returns statements that need all rights on a table, and change no row."""
    key = next(iter(table.primary_key.columns))
    copy = sa.select(table).where(sa.false())
    return [
        sa.insert(table).from_select([column.name for column in table.columns], copy),
        sa.update(table).where(sa.false()).values({key.name: key}),
        sa.delete(table).where(sa.false()),
    ]


def _unended(live: Sequence[int]) -> sa.Select[Any]:
    """Returns the SELECT of workers that have not left and do not live, latest first."""
    worker, study = hpo_worker.c, optuna_tables.studies.c
    return (
        sa.select(worker.worker_id, worker.host, worker.pid, worker.heartbeat_at, study.study_name)
        .join(optuna_tables.studies, study.study_id == worker.study_id)
        .where(worker.ended_at.is_(None), worker.worker_id.not_in(live))
        .order_by(worker.heartbeat_at.desc())
    )


def _differing(versions: Sequence[dict[str, str]]) -> str:
    """Returns the packages of which workers have several versions, with these."""
    seen: dict[str, set[str]] = {}
    for one in versions:
        for name, version in one.items():
            seen.setdefault(name, set()).add(str(version))
    several = {name: sorted(found) for name, found in seen.items() if len(found) > 1}
    return "; ".join(f"{name} {' and '.join(found)}" for name, found in several.items())
