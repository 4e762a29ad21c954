"""Whether a database has the tables this program needs; cheap when it has.

The names of the revisions stand here as literals, so that opening a database loads neither
alembic nor Optuna; a test holds them against the migration scripts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import driver_errors

if TYPE_CHECKING:
    from hpo.store.db.database import Database

VERSION_TABLE = "hpo_alembic_version"
OPTUNA_VERSION_TABLE = "alembic_version"
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
HEAD = REVISIONS[-1]
OPTUNA_HEAD = "v3.2.0.a"

_REVISION = re.compile(r"\d{4}|v\d+\.\d+\.\d+\.\w+")
_BOTH = sa.text(
    f"SELECT 'hpo', version_num FROM {VERSION_TABLE}"
    f" UNION ALL SELECT 'optuna', version_num FROM {OPTUNA_VERSION_TABLE}"
)


def ensure(db: Database, *, create: bool) -> None:
    """Checks that the database has both schemas at the revisions this program knows.

    Args:
        db: The database.
        create: Add the tables that are missing altogether; never upgrades.

    Raises:
        StoreError: A schema is missing, too old or too new; one line says what to do.
    """
    if _revisions(db) == [("hpo", HEAD), ("optuna", OPTUNA_HEAD)]:
        return
    if create:
        from hpo.store.db import creation

        if creation.create(db):
            return
    # Only now the slow way, which loads alembic.
    from hpo.store.db import optuna_schema
    from hpo.store.db.migrations import create as create_schema
    from hpo.store.db.migrations import current

    revision = current(db)
    if create and revision in REVISIONS[:-1]:
        # MySQL shows tables while they are made: perhaps somebody is at it. This waits for them.
        create_schema(db)
        revision = current(db)
    if revision is None:
        if not create:
            raise StoreError(
                f"{db.masked_url} holds no studies of hpo yet; `hpo run STUDY.toml` starts one"
            )
        create_schema(db)
    else:
        _require_head(revision, db.masked_url)
        optuna_schema.check_version(db.engine)


def only_row(found: Sequence[object], table: str) -> str | None:
    """Returns the revision that a table of one row has; None where it has no row, or is not there.

    Raises:
        StoreError: It has several, or something else in it.
    """
    if len(found) > 1:
        raise StoreError(
            f"table {table} must have one row; found {len(found)}: {shown(found)}",
            hint="delete all but the one of the revision that the tables have",
        )
    revision = found[0] if found else None
    if revision is not None and not (isinstance(revision, str) and _REVISION.fullmatch(revision)):
        raise StoreError(
            f"table {table}: version_num must be a revision, such as {HEAD} or {OPTUNA_HEAD}; "
            f"found {shown(found)}"
        )
    return revision


def shown(found: Sequence[object]) -> str:
    """Writes a few values in a line."""
    # A value of gigabytes is not written in full to be cut.
    cut = (one[:40] if isinstance(one, str | bytes) else one for one in found[:3])
    return ", ".join(map(repr, cut)) + ", ..." * (len(found) > 3)


def _revisions(db: Database) -> list[tuple[str, object]] | None:
    try:
        with db.read() as conn:
            found = [(row[0], row[1]) for row in conn.execute(_BOTH)]
            return sorted(found, key=lambda row: row[0])
    except StoreError as error:
        if driver_errors.is_missing_table(error):
            return None
        raise


def _require_head(revision: str, masked_url: str) -> None:
    if revision == HEAD:
        return
    if revision in REVISIONS:
        raise StoreError(
            f"{masked_url}: the schema is revision {revision}, this hpo needs {HEAD}: "
            "run `hpo db upgrade`"
        )
    raise StoreError(
        f"{masked_url}: the schema is revision {revision}, made by a newer hpo "
        f"(this one knows {HEAD}): upgrade hpo"
    )
