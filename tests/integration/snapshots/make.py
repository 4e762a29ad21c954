"""Writes a snapshot of a database at the newest revision.

Run ``python -m tests.integration.snapshots.make`` once for each new revision: the tests want a
snapshot of every one, and upgrade each. One that is there is never written anew, for it shows
what that version of the program has left in databases.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa

from hpo.store.db import schema
from hpo.store.db.hpo_tables import hpo_worker
from hpo.store.db.opening import open_database
from tests.kits.cli_kit import fill, fill_with_optuna

FOLDER = Path(__file__).parent


def make(revision: str, folder: Path) -> Path:
    """Writes the snapshot of this program's newest revision and returns its path.

    It holds a study of hpo's with trials in every state, epochs, events, a lease and a worker, and
    two studies that plain Optuna has made.
    """
    target = folder / f"{revision}.sql"
    if target.exists():
        raise SystemExit(f"{target} is there already")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "hpo.db"
        db = open_database(f"sqlite:///{path}", create=True)
        fill(db)
        fill_with_optuna(db)
        with db.write() as conn:
            # Nothing of the machine that it was made on.
            conn.execute(sa.update(hpo_worker).values(host="host", machine="machine", pid=1))
        db.dispose()
        connection = sqlite3.connect(path)
        lines = list(connection.iterdump())
        connection.close()
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


if __name__ == "__main__":
    sys.stdout.write(f"{make(schema.HEAD, FOLDER)}\n")
