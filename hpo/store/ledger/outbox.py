"""Outbox: what a worker could not write during an outage, kept on local disk, in order.

A worker's outbox is a file that is only appended to. Its owner holds a lock on it as long as it
lives. When the owner dies, the next worker of its study on this machine takes the lock, writes the
records into the database and removes the file. Writing them twice is harmless, because every
record carries the token of its lease: records that were written already, or belong to a lease that
was lost, are passed over.

A line is a record: the CRC-32 of the rest in hexadecimal, a blank, JSON. The checksum tells a
record that its writer did not finish.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import filelock
import platformdirs
import sqlalchemy as sa
from pydantic import TypeAdapter

from hpo.store.db.database import Database
from hpo.store.ledger.leases import EpochRow, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import events
from hpo.store.rows.events import Event

logger = logging.getLogger(__name__)

Record: TypeAlias = EpochRow | Outcome
ENVIRONMENT_VARIABLE = "HPO_SPOOL"
BATCH = 256
"""Records of one transaction when they are replayed: short locks, and few round trips."""

_SUFFIX = ".spool"
_ODD_SUFFIX = ".unread"
_KINDS: dict[str, type[Record]] = {"epoch": EpochRow, "outcome": Outcome}


def folder_of(url: str, study_id: int) -> Path:
    """Returns the folder of a study's outbox files on this machine.

    It lies in the user's state folder, or in ``$HPO_SPOOL``. Machines may share that: each has a
    folder of its own, because locks do not hold on every network file system.

    Args:
        url: The database's, as `Database.url`; user and password do not matter.
        study_id: The study.
    """
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    root = Path(given) if given else platformdirs.user_state_path("hpo", appauthor=False) / "spool"
    parsed = sa.make_url(url)
    identity = [parsed.get_backend_name(), parsed.host, parsed.port, parsed.database]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    host = re.sub(r"[^\w.-]+", "_", platform.node()) or "localhost"
    return root.absolute() / host / digest / f"study-{study_id}"


class Outbox:
    """The outbox file of this process: created when it is first needed, locked until removed.

    Args:
        folder: As `folder_of` gives it.
        worker_id: The worker.
    """

    def __init__(self, folder: Path, worker_id: int) -> None:
        # Never the name of an older file, as SQLite may reuse the ids of deleted rows.
        self.path = folder / f"worker-{worker_id}-{uuid.uuid4().hex[:8]}{_SUFFIX}"
        self._lock: filelock.BaseFileLock | None = None
        self._size = 0

    def append(self, records: Sequence[Record]) -> None:
        """Appends records; they are on the disk when it returns.

        Raises:
            OSError: The disk did not take them; nothing was appended.
        """
        self._take()
        with self.path.open("ab") as file:
            try:
                file.write(b"".join(map(encode, records)))
                file.flush()
                os.fsync(file.fileno())
                self._size = file.tell()
            except OSError:
                # Half a record would hide the records that follow it.
                os.ftruncate(file.fileno(), self._size)
                raise

    def remove(self) -> None:
        """Removes the file, if there is one, after its records were written."""
        if self._lock is not None:
            _remove(self.path)
            self._lock.release()
        self._lock = None
        self._size = 0

    def _take(self) -> None:
        if self._lock is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = _lock_of(self.path)
            lock.acquire()
            self._lock = lock
            self.path.touch(mode=0o600)
            _sync_folder(self.path.parent)


def encode(record: Record) -> bytes:
    """Returns a record as a line of an outbox file."""
    kind = "epoch" if isinstance(record, EpochRow) else "outcome"
    text = json.dumps({"kind": kind, **asdict(record)}).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


class OddRecordError(Exception):
    """A whole record of another shape than this program's: another version wrote it."""


def decode(line: bytes) -> Record | None:
    """Returns the record of a line; None when the line is not whole.

    Raises:
        OddRecordError: Another version of hpo wrote it.
    """
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        values = dict(json.loads(text))
        kind = _KINDS[values.pop("kind")]
        if unknown := values.keys() - {field.name for field in fields(kind)}:
            raise OddRecordError(f"unknown: {', '.join(sorted(unknown))}")
        record: Record = TypeAdapter(kind).validate_python(values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise OddRecordError(type(error).__name__) from error
    return record


class Contents(NamedTuple):
    """The readable content of an outbox file.

    Attributes:
        records: Up to the first that is not whole, or that is odd.
        has_odd: Whether an odd one follows.
    """

    records: list[Record]
    has_odd: bool


def read(path: Path) -> Contents:
    """Returns the records of an outbox file.

    Raises:
        OSError: The file cannot be read.
    """
    found: list[Record] = []
    lines = path.read_bytes().splitlines(keepends=True)
    for line in lines:
        try:
            record = decode(line)
        except OddRecordError:
            return Contents(found, has_odd=True)
        if record is None:
            # What follows would be written without what came before it.
            n_left = len(lines) - len(found)
            logger.warning("%s: left out the last %d records; one is torn", path, n_left)
            break
        found.append(record)
    return Contents(found, has_odd=False)


def batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Cuts records into runs of one kind, in their order, each for one transaction."""
    for _, run in groupby(records, key=type):
        same = list(run)
        yield from (same[start : start + BATCH] for start in range(0, len(same), BATCH))


def write(ledger: Ledger, batch: Sequence[Record]) -> set[int]:
    """Writes records of one kind and returns the trial_ids whose lease is lost.

    Raises:
        StoreError: The database failed.
    """
    if isinstance(batch[0], EpochRow):
        return ledger.report(cast(Sequence[EpochRow], batch))
    return ledger.settle(cast(Sequence[Outcome], batch))


def adopt(db: Database, study_id: int) -> int:
    """Writes the records that dead workers of this machine have left, and removes their files.

    It must run before the leases of the dead are reaped: nothing is written for a lease that is no
    longer in force. Of two processes that call it, one adopts a file.

    Returns:
        How many records were written.

    Raises:
        StoreError: The database failed; records that are not written yet stay.
    """
    return sum(_adopt(db, study_id, path) for path in files_in(folder_of(db.url, study_id)))


def files_in(folder: Path) -> list[Path]:
    """Returns the outbox files in a folder, of all workers; none where there is no folder."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _adopt(db: Database, study_id: int, path: Path) -> int:
    lock = _lock_of(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return 0
    except OSError as error:
        logger.warning("%s cannot be locked: %s", path, error)
        return 0
    try:
        # Another process may have adopted and removed it meanwhile.
        n_written = _replay(db, study_id, path) if path.exists() else 0
        _remove(path)
    except OSError as error:
        logger.warning("%s cannot be read: %s", path, error)
        return 0
    else:
        return n_written
    finally:
        lock.release()


def _replay(db: Database, study_id: int, path: Path) -> int:
    (records, has_odd), ledger = read(path), Ledger(db)
    for batch in batches(records):
        write(ledger, batch)
    if has_odd:
        kept = path.rename(path.with_suffix(_ODD_SUFFIX))
        logger.warning("%s holds records that another version of hpo wrote; left there", kept)
    if records:
        message = f"wrote {len(records)} records that a worker on {platform.node()} had kept"
        event = Event(study_id, "outage", f"{message} when it ended")
        db.transaction(lambda conn: events.record(conn, [event], db.now(conn)))
        logger.info("%s: %s", path.name, message)
    return len(records)


def _remove(path: Path) -> None:
    # The lock's file can be removed, too, because the name is never used again: a process that
    # still locks it finds no outbox file.
    path.unlink(missing_ok=True)
    _lock_path(path).unlink(missing_ok=True)


def _lock_path(path: Path) -> Path:
    return path.with_suffix(".lock")


def _lock_of(path: Path) -> filelock.BaseFileLock:
    # Not bound to a thread: one creates the file, another removes it.
    return filelock.FileLock(_lock_path(path), thread_local=False)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
