"""Optuna's schema: created as Optuna itself creates it, and checked against what this code knows.

Only this module imports Optuna's private modules: `optuna.storages._rdb.models` (tables,
`SCHEMA_VERSION`), the alembic scripts beside it (names of the known revisions), and what its
storage contract speaks of. `check_version` guards all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import sqlalchemy as sa
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX as DEFAULT_STUDY_NAME_PREFIX
from optuna.storages._rdb import models
from optuna.study._frozen import FrozenStudy as FrozenStudy

from hpo.errors import StoreError
from hpo.store.db.optuna_tables import version_info
from hpo.store.db.schema import OPTUNA_VERSION_TABLE, only_row

if TYPE_CHECKING:
    # Loaded only to create or check a schema: `hpo ls` starts faster without it.
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

_logger = logging.getLogger(__name__)

OPTUNA_REVISION = "v3.2.0.a"
"""The alembic revision of Optuna's schema that this code was written against."""


def current_revision(bind: sa.Engine | sa.Connection) -> str | None:
    """Returns the revision of Optuna's schema in the database, or None where it has none."""
    with _connection(bind) as connection:
        found = _context(connection).get_current_heads()
        return only_row(found, OPTUNA_VERSION_TABLE)


def check_version(bind: sa.Engine | sa.Connection) -> None:
    """Checks that this code, the installed Optuna and the database mean the same tables.

    Raises:
        StoreError: They do not; the hint says what to do.
    """
    known = _known_revisions()
    if known[0] != OPTUNA_REVISION:
        raise StoreError(
            f"optuna {optuna.__version__} keeps its tables at revision {known[0]}, "
            f"this version of hpo knows {OPTUNA_REVISION}",
            hint="install the version of optuna that hpo was released with",
        )
    revision = current_revision(bind)
    if revision is None:
        raise StoreError(
            "the database has no Optuna tables (or they are older than optuna 0.9)",
            hint="create them with `hpo db upgrade`",
        )
    if revision in known[1:]:
        raise StoreError(
            f"the database's Optuna tables are at revision {revision}, older than "
            f"{OPTUNA_REVISION}",
            hint="stop all workers, then run `optuna storage upgrade --storage URL`",
        )
    if revision != OPTUNA_REVISION:
        raise StoreError(
            f"the database's Optuna tables are at revision {revision}, which "
            f"optuna {optuna.__version__} does not know",
            hint="a newer optuna made this database: upgrade optuna and hpo on this machine",
        )


def create_all_and_stamp(bind: sa.Engine | sa.Connection) -> None:
    """Creates Optuna's tables the way `RDBStorage` does: tables, `version_info`, revision.

    Safe to repeat; the revision is written last, so an interrupted creation is completed by the
    next call. The caller holds a lock against other processes. Given a connection, everything
    happens in its transaction (MySQL and MariaDB commit at each table).

    Raises:
        StoreError: The database holds Optuna tables of another revision.
    """
    with _connection(bind) as connection:
        if current_revision(connection) is not None:
            check_version(connection)
            return
        create_all(connection)
        _context(connection).stamp(_scripts(), OPTUNA_REVISION)
        _logger.debug("created Optuna's tables at revision %s", OPTUNA_REVISION)


def create_all(connection: sa.Connection) -> None:
    """Creates Optuna's missing tables, and writes their version, but no revision."""
    models.BaseModel.metadata.create_all(connection)
    _add_microseconds(connection)
    _insert_version_info(connection)


def is_known() -> bool:
    """Returns whether the installed Optuna's newest revision is the one that this code knows.

    It compares the names of the scripts; `check_version` is certain.
    """
    scripts = Path(models.__file__).with_name("alembic") / "versions"
    return max(path.stem.rstrip("_") for path in scripts.glob("v*.py")) == OPTUNA_REVISION


FINER_TIMES = (
    "ALTER TABLE trials MODIFY datetime_start DATETIME(6) NULL,"
    " MODIFY datetime_complete DATETIME(6) NULL"
)
"""What MySQL and MariaDB need to keep a trial's times to the microsecond."""


def keeps_microseconds(connection: sa.Connection) -> bool:
    """Returns whether trials' times are kept in full; on MySQL not where Optuna made the tables."""
    if not _is_mysql(connection):
        return True
    query = sa.text(
        "SELECT MIN(datetime_precision) FROM information_schema.columns"
        " WHERE table_schema = DATABASE() AND table_name = 'trials'"
        " AND column_name IN ('datetime_start', 'datetime_complete')"
    )
    return connection.execute(query).scalar() == 6


def _add_microseconds(connection: sa.Connection) -> None:
    # Optuna declares a plain DATETIME, which MySQL and MariaDB keep to the whole second: too
    # coarse for the duration of a trial, and less than the other databases hold. Optuna reads
    # and writes the finer column without noticing.
    if _is_mysql(connection):
        connection.execute(sa.text(FINER_TIMES))


def _is_mysql(connection: sa.Connection) -> bool:
    return connection.dialect.name in ("mysql", "mariadb")


def _insert_version_info(connection: sa.Connection) -> None:
    found = connection.execute(sa.select(version_info.c.schema_version)).scalar_one_or_none()
    if found is None:
        connection.execute(
            version_info.insert().values(
                version_info_id=1,
                schema_version=models.SCHEMA_VERSION,
                library_version=optuna.__version__,
            )
        )
    elif found != models.SCHEMA_VERSION:
        raise StoreError(
            f"the database holds Optuna tables of schema version {found}, "
            f"older than {models.SCHEMA_VERSION}",
            hint="run `optuna storage upgrade --storage URL`",
        )


@contextmanager
def _connection(bind: sa.Engine | sa.Connection) -> Iterator[sa.Connection]:
    if isinstance(bind, sa.Connection):
        yield bind
        return
    with bind.begin() as connection:
        yield connection


def _context(connection: sa.Connection) -> MigrationContext:
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection)


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(models.__file__).with_name("alembic")))


@lru_cache(maxsize=1)
def _known_revisions() -> tuple[str, ...]:
    """Returns the installed Optuna's revisions, newest first."""
    return tuple(script.revision for script in _scripts().walk_revisions())
