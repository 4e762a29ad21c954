"""Schema revisions: those that this program knows, and the one that a database has.

The names of the revisions are literals, so that opening a database loads neither alembic nor
Optuna; a test compares them with the migration scripts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpo.errors import StoreError

VERSION_TABLE = "hpo_alembic_version"
OPTUNA_VERSION_TABLE = "alembic_version"
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
HEAD = REVISIONS[-1]
OPTUNA_HEAD = "v3.2.0.a"

_REVISION = re.compile(r"\d{4}|v\d+\.\d+\.\d+\.\w+")


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
    """Returns a few values as one line."""
    # A value of gigabytes is not written in full to be cut.
    cut = (one[:40] if isinstance(one, str | bytes) else one for one in found[:3])
    return ", ".join(map(repr, cut)) + ", ..." * (len(found) > 3)
