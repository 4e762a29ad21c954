"""Lock race: two processes count up one row of the database at the same time.

Each reads the number under a lock and writes the next one, as the ledger does with a study's row.
Where locks exclude, no count is lost. Run as ``python -m hpo.report.health.lock_race``, a process
is the second one of a race; its order comes on standard input, for the URL may hold a password.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_last_id

ROUNDS: Final = 15
"""Counts of each process. Source: judgement; without locks, nearly each loses one."""
_PAUSE_S: Final = 0.002
"""Between reading and writing, so that the other process comes in between where it can."""
_PATIENCE_S: Final = 60.0
_ROW: Final = hpo_last_id.c


@dataclass(frozen=True)
class LockRace:
    """The result of a race.

    Attributes:
        n_counted: How often the two processes counted.
        n_kept: The number that they reached: less than ``n_counted`` where counts were lost.
        seconds: How long it took.
    """

    n_counted: int
    n_kept: int
    seconds: float


def run(
    db: Database,
    rounds: int = ROUNDS,
    count: Callable[[Database, str], None] | None = None,
    arguments: tuple[str, ...] = (),
) -> LockRace:
    """Runs a race and removes its row.

    Args:
        db: The database, with hpo's tables.
        rounds: Counts of each of the two processes.
        count: Counts once; for tests, which need one that takes no lock.
        arguments: Of the second process, likewise.

    Raises:
        StoreError: The database refuses a write, or keeps a lock for too long.
    """
    name = f"doctor {uuid.uuid4().hex[:16]}"
    with _row(db, name), _second(db, name, rounds, arguments) as second:
        assert second.stdin is not None
        began_s = time.monotonic()
        second.stdin.write("go\n")
        second.stdin.flush()
        for _ in range(rounds):
            (count or counted)(db, name)
        _finish(second)
        seconds = time.monotonic() - began_s
        with db.read() as conn:
            kept = conn.scalar(sa.select(_ROW.last_id).where(_ROW.name == name))
    return LockRace(2 * rounds, int(kept or 0), seconds)


def counted(db: Database, name: str) -> None:
    """Counts up the row of a race by one, under its lock."""
    db.transaction(partial(_count, name))


def counted_without_lock(db: Database, name: str) -> None:
    """Counts up the row without a lock, to show that the race finds it."""
    with db.read() as conn:
        found = conn.scalar(sa.select(_ROW.last_id).where(_ROW.name == name))
    time.sleep(_PAUSE_S)
    with db.write() as conn:
        _write(conn, name, int(found or 0) + 1)


def _count(name: str, conn: sa.Connection) -> None:
    statement = sa.select(_ROW.last_id).where(_ROW.name == name).with_for_update()
    found = conn.scalar(statement)
    time.sleep(_PAUSE_S)
    _write(conn, name, int(found or 0) + 1)


def _write(conn: sa.Connection, name: str, number: int) -> None:
    conn.execute(sa.update(hpo_last_id).where(_ROW.name == name).values(last_id=number))


@contextmanager
def _row(db: Database, name: str) -> Iterator[None]:
    with db.write() as conn:
        conn.execute(sa.insert(hpo_last_id).values(name=name, last_id=0))
    try:
        yield
    finally:
        with db.write() as conn:
            conn.execute(sa.delete(hpo_last_id).where(_ROW.name == name))


@contextmanager
def _second(
    db: Database, name: str, rounds: int, arguments: tuple[str, ...]
) -> Iterator[subprocess.Popen[str]]:
    """Starts the second process and waits until it is connected."""
    pipe = subprocess.PIPE
    second = subprocess.Popen(
        [sys.executable, "-m", "hpo.report.health.lock_race", *arguments],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )
    try:
        assert second.stdin is not None
        assert second.stdout is not None
        second.stdin.write(json.dumps({"url": db.url, "name": name, "rounds": rounds}) + "\n")
        second.stdin.flush()
        if second.stdout.readline() != "ready\n":
            _finish(second)
        yield second
    finally:
        second.kill()
        second.wait()
        for stream in (second.stdin, second.stdout, second.stderr):
            if stream is not None and not stream.closed:
                stream.close()


def _finish(second: subprocess.Popen[str]) -> None:
    try:
        _, errors = second.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise StoreError("the second process of the race has waited too long for a lock") from None
    if second.returncode:
        last = (errors.strip().splitlines() or [f"exit code {second.returncode}"])[-1]
        raise StoreError(f"the second process of the race failed: {last}")


def _main() -> None:
    order = json.loads(sys.stdin.readline())
    db = Database.connect(order["url"])
    count = counted_without_lock if "--without-lock" in sys.argv else counted
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.readline() == "go\n":
        for _ in range(order["rounds"]):
            count(db, order["name"])
    db.dispose()


if __name__ == "__main__":
    try:
        _main()
    except StoreError as error:
        sys.exit(error.message)
