"""Opening a database: the connection, and a check of both schemas.

The check is one cheap statement where the tables exist; alembic is loaded where they do not.
"""

from __future__ import annotations

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import driver_errors
from hpo.store.db.database import Database
from hpo.store.db.schema import (
    HEAD,
    OPTUNA_HEAD,
    OPTUNA_VERSION_TABLE,
    REVISIONS,
    VERSION_TABLE,
)

_BOTH = sa.text(
    f"SELECT 'hpo', version_num FROM {VERSION_TABLE}"
    f" UNION ALL SELECT 'optuna', version_num FROM {OPTUNA_VERSION_TABLE}"
)


def open_database(url: str | None = None, *, create: bool = False) -> Database:
    """Opens a database and checks both schemas, Optuna's and hpo's.

    Args:
        url: As `resolve_url` takes it.
        create: Create what is missing: the SQLite file, Optuna's tables, hpo's. Any number of
            processes may do so at once.

    Raises:
        StoreError: One line that says what to do: no database there, unreachable, wrong
            password, schema too old or too new.
    """
    db = Database(url)
    if not create:
        db.require_file()
    try:
        ensure(db, create=create)
    except BaseException:
        db.dispose()
        raise
    return db


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
        # MySQL shows tables while another process creates them: this waits for it.
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
