"""Files health: the disk, and the folder of checkpoints and models that machines may share."""

from __future__ import annotations

import errno
import io
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from hpo.errors import HpoError
from hpo.report.health.health_check import HealthCheck, failed, ok, skipped, warning
from hpo.report.text.formatting import count
from hpo.run.files.artifacts import ENVIRONMENT_VARIABLE, Artifacts
from hpo.run.files.object_store import connect, is_remote
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease, hpo_worker
from hpo.store.studies import study_records

_MIB: Final = 2**20
_LOW_BYTES: Final = 1024 * _MIB
_FULL_BYTES: Final = 64 * _MIB
"""Less is taken for full. Source: judgement; a checkpoint of a small model is below 1 MiB."""
_PROBE: Final = bytes(_MIB)
_MOST_CHECKED: Final = 500
_SHARE: Final = (
    f"give all machines one folder or object store: --artifacts or {ENVIRONMENT_VARIABLE}"
)


def disk(db: Database | None, url: str, artifacts: str | None) -> HealthCheck:
    """Looks for room where the files are written, and where an SQLite database is.

    Args:
        db: The database, if it can be used.
        url: Its URL.
        artifacts: As ``Artifacts.of`` takes its root.
    """
    places = {"artifacts": Artifacts.root(url, artifacts), "temporary files": Path("/tmp")}
    if db is not None and db.dialect == "sqlite":
        places["the database"] = Path(str(db.engine.url.database)).parent
    rooms = {what: (nearest(path), free_bytes(nearest(path))) for what, path in places.items()}
    scarce = min(rooms, key=lambda what: rooms[what][1])
    folder, free = rooms[scarce]
    found = f"{free / 2**30:.1f} GiB free for {scarce} ({folder})"
    if free < _FULL_BYTES:
        advice = f"make room on the disk of {folder}; workers wait until there is some"
        return failed("disk", f"full: {free / _MIB:.0f} MiB free for {scarce} ({folder})", advice)
    if free < _LOW_BYTES:
        return warning("disk", found, f"make room on the disk of {folder}")
    return ok("disk", found)


def artifacts(url: str, root: str | None) -> HealthCheck:
    """Writes a file where checkpoints and models go, and removes it.

    Args:
        url: The database's URL.
        root: As ``Artifacts.of`` takes it.
    """
    try:
        Artifacts.require_usable(url, root)
    except HpoError as error:
        return failed("artifacts", error.message, error.hint or _SHARE)
    base = root or os.environ.get(ENVIRONMENT_VARIABLE)
    if base and is_remote(base):
        return _object_store(base)
    folder = Artifacts.root(url, root)
    why = _refusal(nearest(folder))
    if why:
        return failed("artifacts", f"{folder} cannot be written: {why}", "make room, or " + _SHARE)
    if folder.is_dir():
        return ok("artifacts", f"{folder} can be written")
    if base:
        advice = "hpo makes it; if it is on a disk that machines share, mount that first"
        return warning("artifacts", f"{folder} is not there", advice)
    return ok("artifacts", f"{folder} can be made")


def shared(db: Database | None, root: str | None) -> HealthCheck:
    """Looks whether this machine has the checkpoints from which paused trials would be resumed.

    Args:
        db: The database, if it can be used.
        root: As ``Artifacts.of`` takes it.
    """
    if db is None:
        return skipped("shared", "needs the database")
    base = root or os.environ.get(ENVIRONMENT_VARIABLE)
    if base and is_remote(base):
        return ok("shared", "an object store, which all machines reach")
    hosts = _hosts(db)
    others = ", ".join(sorted(hosts - {socket.gethostname()})[:5])
    n_checked, missing = _missing_checkpoints(db, root)
    if missing:
        names = ", ".join(sorted({name for name, _ in missing})[:3])
        whose = f"; machines at work: {others}" if others else ""
        return warning(
            "shared",
            f"{count(len(missing))} of {count(n_checked)} checkpoints are not here ({names})"
            f"{whose}: their trials would start again at epoch 0 on this machine",
            _SHARE,
        )
    if others and not base and db.dialect != "sqlite":
        return warning("shared", f"{others} work here, too, each with files of its own", _SHARE)
    if n_checked:
        return ok("shared", f"the checkpoints of {count(n_checked)} unfinished trials are here")
    return ok("shared", "no trial waits to be resumed from a checkpoint")


def nearest(folder: Path) -> Path:
    """Returns the folder, or the nearest one around it that exists."""
    # Unlike Path.exists it does not raise where a folder may not be looked into.
    return next(one for one in (folder, *folder.parents) if os.path.exists(one))  # noqa: PTH110


def free_bytes(folder: Path) -> int:
    """Returns the room that this user has; 0 where a file system takes no more files."""
    found = os.statvfs(folder)
    no_files_left = found.f_files > 0 and found.f_favail == 0
    return 0 if no_files_left else shutil.disk_usage(folder).free


def _refusal(folder: Path) -> str:
    """Returns why a file cannot be written; empty where it can."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".hpo-") as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return "the disk is full" if is_full else str(error.strerror or error).lower()
    return ""


def _object_store(base: str) -> HealthCheck:
    """Writes an object, reads it and removes it."""
    place = connect(base)
    name = f"{place.prefix}/.hpo-doctor-{uuid.uuid4().hex}".lstrip("/")
    try:
        place.store.write(name, io.BytesIO(b"hpo"))
        with place.store.open_reader(name) as reader:
            is_same = reader.read() == b"hpo"
        place.store.remove(name)
    except Exception as error:  # noqa: BLE001 - each store raises errors of its own library
        first = (str(error).splitlines() or [type(error).__name__])[0]
        advice = "check its name, the network, and this machine's credentials for it"
        return failed("artifacts", f"{base} cannot be written: {first}", advice)
    if not is_same:
        return failed("artifacts", f"{base} gives back other data", "check what is in between")
    return ok("artifacts", f"{base} can be written and read")


def _hosts(db: Database) -> set[str]:
    statement = sa.select(hpo_worker.c.host).where(hpo_worker.c.ended_at.is_(None)).distinct()
    with db.read() as conn:
        return set(conn.scalars(statement))


def _missing_checkpoints(db: Database, root: str | None) -> tuple[int, list[tuple[str, int]]]:
    """Returns how many checkpoints were looked for, and those that are not here: study, number."""
    n_checked, missing = 0, []
    for name, numbers in _with_checkpoints(db):
        files = Artifacts.of(study_records.load(db, name), db.url, root)
        n_checked += len(numbers)
        missing += [(name, n) for n in numbers if files.latest_checkpoint(n) is None]
    return n_checked, missing


def _with_checkpoints(db: Database) -> Iterator[tuple[str, list[int]]]:
    """Yields studies with the latest of their trials that no worker has and that may be resumed."""
    lease, trials, studies = hpo_lease.c, optuna_tables.trials.c, optuna_tables.studies
    statement: sa.Select[Any] = (
        sa.select(studies.c.study_name, trials.number)
        .select_from(hpo_lease)
        .join(optuna_tables.trials, trials.trial_id == lease.trial_id)
        .join(studies, studies.c.study_id == lease.study_id)
        .where(lease.checkpoint.is_not(None), lease.worker_id.is_(None))
        .order_by(lease.updated_at.desc())
        .limit(_MOST_CHECKED)
    )
    found: dict[str, list[int]] = {}
    with db.read() as conn:
        for name, number in conn.execute(statement):
            found.setdefault(name, []).append(number)
    yield from found.items()
